//! What a virtual service shall be like, from the config file or from a service's tags. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use ipvs::{Forwarding, ServiceId, ServiceSettings};

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
}

/// Why a service gets no virtual service. Everything else goes on.
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

/// VIPs that are ours. IPVS has no label field, so ownership is by address; all else is never touched.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ownership {
    pub ranges: Vec<IpNet>,
}

impl Ownership {
    /// Whether this virtual service is ours.
    pub fn owns(&self, id: &ServiceId) -> bool {
        id.vip().is_some_and(|vip| self.contains(vip))
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
    pub services: BTreeMap<Arc<str>, VipPolicy>,
    pub ownership: Ownership,
    pub drain: Duration,
    /// Share of the serving real servers that may vanish from the catalogue at once, in percent.
    pub shrink_percent: u8,
}
