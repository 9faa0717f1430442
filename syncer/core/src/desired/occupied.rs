//! Addresses that are somebody's: no VIP may be there, for whoever takes a living host's address cuts it off. Pure.
//!
//! This machine's own addresses, what a neighbour on the link answers for and the addresses of the sources are
//! told from outside ([`Holders`]); nodes are in the catalogue and in Nomad's view. A virtual service that was applied
//! before a node was known at its address is kept, and named: a catalogue must not be able to take it down.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::{FleetView, Snapshots};
use crate::model::catalog::Catalog;
use crate::model::policy::Policy;

/// Who has an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// This machine has it, and not as a VIP.
    Machine {
        interface: Arc<str>,
    },
    /// It is the first address of a network that this machine is in.
    Network {
        network: IpNet,
    },
    /// It is the last address of such a network.
    Broadcast {
        network: IpNet,
    },
    /// Somebody on the link answers for it.
    Neighbour {
        link: Arc<str>,
    },
    /// A source of ours is asked there.
    Source {
        name: &'static str,
    },
    ConsulNode {
        name: Arc<str>,
    },
    NomadNode {
        name: Arc<str>,
    },
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine { interface } => {
                write!(f, "this machine's own address on {interface}")
            }
            Self::Network { network } => write!(f, "the network address of {network}"),
            Self::Broadcast { network } => write!(f, "the broadcast address of {network}"),
            Self::Neighbour { link } => {
                write!(f, "another host's: {link} answers for it on the link")
            }
            Self::Source { name } => write!(f, "the address where {name} is asked"),
            Self::ConsulNode { name } => write!(f, "the address of Consul's node {name}"),
            Self::NomadNode { name } => write!(f, "the address of Nomad's node {name}"),
        }
    }
}

/// Holders of addresses, as the data plane and the sources know them.
pub type Holders = BTreeMap<IpAddr, Holder>;

/// Lists the nodes of both catalogues whose addresses are in our ranges.
pub(super) fn nodes(catalog: &Catalog, snapshots: &Snapshots<'_>, policy: &Policy) -> Holders {
    let mut nodes = Holders::new();
    if let FleetView::Known(fleet) = snapshots.fleet {
        let own = fleet
            .hosts()
            .filter(|(ip, _)| policy.ownership.contains(*ip));
        nodes.extend(own.map(|(ip, host)| {
            let name = Arc::clone(&host.name);
            (ip, Holder::NomadNode { name })
        }));
    }
    for service in catalog.services.values() {
        for (ip, name) in &service.hosts {
            if policy.ownership.contains(*ip) {
                let name = Arc::clone(name);
                nodes.insert(*ip, Holder::ConsulNode { name });
            }
        }
    }
    nodes
}
