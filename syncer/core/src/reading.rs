//! What a data plane has, as far as it was read. Also the mirror of it that steps are reflected in.

mod sysctl;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ipvs::{Connections, ServiceId, Table, Unreadable};

pub use sysctl::{Need, Sysctl, Sysctls};

use crate::desired::Holders;

/// Connections by virtual service and real server.
pub type Counts = BTreeMap<(ServiceId, SocketAddr), Connections>;

/// Virtual services whose clients' addresses are rewritten.
pub type SnatSet = BTreeSet<ServiceId>;

/// Everything that the data plane has.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    pub table: Table,
    pub counts: Counts,
    pub addresses: Addresses,
    /// Whose clients' addresses are rewritten; `None` where the rules have to be set anew.
    pub snat: Option<SnatSet>,
    /// Settings that are not as a virtual service may need them.
    pub sysctls: Sysctls,
    /// What somebody else has in the kernel that can't be read, and that nobody here touches; the first few.
    pub unreadable: Vec<Unreadable>,
}

/// Who puts VIPs on the interface and takes them off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AddressKeeper {
    #[default]
    Syncer,
    /// Others do: VRRP, BGP, a person.
    Others,
}

/// Addresses on the director's interface.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Addresses {
    pub present: BTreeSet<IpAddr>,
    /// Addresses that we put there, now or before a restart.
    pub ours: BTreeSet<IpAddr>,
    /// Where no VIP may be: what else this machine has, and what somebody on the link answers for.
    pub occupied: Holders,
    pub keeper: AddressKeeper,
}
