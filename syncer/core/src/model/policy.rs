//! What a virtual service shall be like, from the config file or from a service's tags. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use ipvs::{Forwarding, Scheduler, ServiceId, ServiceSettings};

use super::safeguard::Safeguards;

/// One virtual service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VipPolicy {
    pub id: ServiceId,
    pub settings: ServiceSettings,
    pub forwarding: Forwarding,
    /// Rewrite the client's address too, so that replies return through the director from any topology.
    pub snat: bool,
    /// How long a real server that goes may keep its connections; `None` takes the director's.
    pub drain: Option<Duration>,
    pub safeguards: Safeguards,
}

impl VipPolicy {
    /// A plain one: weighted round robin by masquerade.
    pub fn new(id: ServiceId) -> Self {
        Self {
            id,
            settings: ServiceSettings::new(Scheduler::WRR),
            forwarding: Forwarding::Masquerade,
            snat: false,
            drain: None,
            safeguards: Safeguards::default(),
        }
    }
}

/// What the tags of an instance ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// At least one, each with another identity.
    Vips(Vec<VipPolicy>),
    /// It can't be done; `vip` is the one that it would be, as far as it can be read.
    Unusable {
        vip: Option<ServiceId>,
        why: Rejected,
    },
}

impl From<VipPolicy> for Ask {
    fn from(vip: VipPolicy) -> Self {
        Self::Vips(vec![vip])
    }
}

/// What the config file says about one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceBlock {
    /// Its virtual services, each with another identity.
    pub vips: Vec<VipPolicy>,
    /// Only instances that have all of these tags are its real servers; of an empty list all are.
    pub only_tags: Vec<Box<str>>,
}

impl ServiceBlock {
    /// Of its virtual services.
    pub fn ids(&self) -> impl Iterator<Item = ServiceId> {
        self.vips.iter().map(|vip| vip.id)
    }
}

impl From<VipPolicy> for ServiceBlock {
    fn from(vip: VipPolicy) -> Self {
        Self {
            vips: vec![vip],
            only_tags: Vec::new(),
        }
    }
}

/// Why a service gets no virtual service, or an instance is no real server. Everything else goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Rejected {
    pub reason: String,
}

impl Rejected {
    /// For that reason, a sentence without its full stop.
    pub fn because(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
        }
    }
}

/// Why no virtual service can be at that address and port, whoever owns it.
pub fn usable(id: &ServiceId) -> Result<(), String> {
    let ServiceId::Address { address, .. } = id else {
        return Ok(());
    };
    let kind = match address.ip() {
        _ if address.port() == 0 => return Err(format!("{id} has port 0; a VIP is one port")),
        ip if ip.is_unspecified() => "the unspecified address",
        ip if ip.is_loopback() => "a loopback address, which no client reaches",
        ip if ip.is_multicast() => "a multicast address",
        IpAddr::V4(ip) if ip.is_broadcast() => "the broadcast address",
        IpAddr::V4(ip) if ip.octets()[0] == 0 => "an address of \"this network\"",
        IpAddr::V6(ip) if ip.is_unicast_link_local() => "an address of one link only",
        _ => return Ok(()),
    };
    Err(format!("{} is {kind}", address.ip()))
}

/// Virtual services that are ours. IPVS has no label field, so ownership is by address, or by firewall mark; all else is
/// never touched.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ownership {
    /// Of VIPs, whatever their port and protocol.
    pub ranges: Vec<IpNet>,
    /// Of firewall marks, of both families.
    pub marks: Vec<RangeInclusive<NonZeroU32>>,
}

impl Ownership {
    /// Of all VIPs in these ranges, and of no firewall mark.
    pub fn of(ranges: Vec<IpNet>) -> Self {
        let marks = Vec::new();
        Self { ranges, marks }
    }

    /// Whether this virtual service is ours.
    pub fn owns(&self, id: &ServiceId) -> bool {
        match id {
            ServiceId::Address { address, .. } => self.contains(address.ip()),
            ServiceId::Mark { mark, .. } => self.marks.iter().any(|range| range.contains(mark)),
        }
    }

    /// Whether this VIP is ours.
    pub fn contains(&self, vip: IpAddr) -> bool {
        self.ranges.iter().any(|range| range.contains(&vip))
    }
}

/// All that a director was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// From the config file, by Consul service name.
    pub services: BTreeMap<Arc<str>, ServiceBlock>,
    pub ownership: Ownership,
    pub drain: Duration,
    /// Share of the serving real servers that may vanish from the catalogue at once, in percent.
    pub shrink_percent: u8,
}
