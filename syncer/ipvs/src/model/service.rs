//! A virtual service: what names it and what an edit may change.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Scheduler;

/// Address family of a firewall-mark service; elsewhere the address says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    V4,
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: &IpAddr) -> Self {
        if address.is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }

    /// Length of a host prefix: 32 or 128.
    pub fn host_prefix(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}

/// Transport protocols that a virtual service can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// As in `tcp://…` and iptables' `-p`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    /// The IP protocol number.
    pub fn number(self) -> u16 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    pub(crate) fn from_number(number: u16) -> Option<Self> {
        [Self::Tcp, Self::Udp, Self::Sctp]
            .into_iter()
            .find(|known| known.number() == number)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What names a virtual service within a network namespace.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ServiceId {
    /// One address and port; port 0 stands for all ports (useful with persistence only).
    Address {
        protocol: Protocol,
        address: SocketAddr,
    },
    /// Packets with a firewall mark.
    Mark { family: Family, mark: NonZeroU32 },
}

/// Why a text names no virtual service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected IP:PORT, [tcp|udp|sctp]://IP:PORT or fwmark[4|6]:NUMBER, not {0:?}")]
pub struct UnusableAddress(pub String);

impl ServiceId {
    /// The VIP, where there is one.
    pub fn vip(&self) -> Option<IpAddr> {
        match self {
            Self::Address { address, .. } => Some(address.ip()),
            Self::Mark { .. } => None,
        }
    }

    /// The transport protocol, where the identity says it.
    pub fn protocol(&self) -> Option<Protocol> {
        match self {
            Self::Address { protocol, .. } => Some(*protocol),
            Self::Mark { .. } => None,
        }
    }

    /// Its address family.
    pub fn family(&self) -> Family {
        match self {
            Self::Address { address, .. } => Family::of(&address.ip()),
            Self::Mark { family, .. } => *family,
        }
    }
}

impl FromStr for ServiceId {
    type Err = UnusableAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unusable = || UnusableAddress(text.to_owned());
        for (prefix, family) in [
            ("fwmark:", Family::V4),
            ("fwmark4:", Family::V4),
            ("fwmark6:", Family::V6),
        ] {
            if let Some(mark) = text.strip_prefix(prefix) {
                return Ok(Self::Mark {
                    family,
                    mark: mark.parse().map_err(|_| unusable())?,
                });
            }
        }
        let (protocol, address) = match text.split_once("://") {
            None => (Protocol::Tcp, text),
            Some(("tcp", address)) => (Protocol::Tcp, address),
            Some(("udp", address)) => (Protocol::Udp, address),
            Some(("sctp", address)) => (Protocol::Sctp, address),
            Some(_) => return Err(unusable()),
        };
        Ok(Self::Address {
            protocol,
            address: address.parse().map_err(|_| unusable())?,
        })
    }
}

impl TryFrom<String> for ServiceId {
    type Error = UnusableAddress;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ServiceId> for String {
    fn from(id: ServiceId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { protocol, address } => write!(f, "{protocol}://{address}"),
            Self::Mark {
                family: Family::V4,
                mark,
            } => write!(f, "fwmark4:{mark}"),
            Self::Mark {
                family: Family::V6,
                mark,
            } => write!(f, "fwmark6:{mark}"),
        }
    }
}

impl fmt::Debug for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `IP_VS_SVC_F_*` that a user can set; persistence has a field of its own, the kernel's own `HASHED` is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct ServiceFlags(u32);

impl ServiceFlags {
    /// One packet scheduling (UDP): every packet is scheduled on its own.
    pub const ONE_PACKET: Self = Self(0x4);
    /// First flag of the scheduler: `sh-fallback`, `mh-fallback`.
    pub const FALLBACK: Self = Self(0x8);
    /// Second flag of the scheduler: `sh-port`, `mh-port`.
    pub const PORT: Self = Self(0x10);
    /// Third flag of the scheduler.
    pub const THIRD: Self = Self(0x20);
    const USABLE: u32 = 0x3c;

    /// Keeps the bits that a user can set.
    pub fn from_bits(bits: u32) -> Self {
        Self(bits & Self::USABLE)
    }

    /// The kernel's bits.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// Whether all of those are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Clients of one network keep their real server for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Persistence {
    /// Seconds since the last connection.
    pub seconds: u32,
    /// Length of the prefix that counts as one client: 1..=32 or 1..=128.
    pub prefix: u8,
}

/// What an edit of a virtual service may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ServiceSettings {
    pub scheduler: Scheduler,
    #[serde(default)]
    pub flags: ServiceFlags,
    #[serde(default)]
    pub persistence: Option<Persistence>,
}

impl ServiceSettings {
    /// A plain service with that scheduler.
    pub fn new(scheduler: Scheduler) -> Self {
        Self {
            scheduler,
            flags: ServiceFlags::default(),
            persistence: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_reads_back_what_it_writes() {
        for text in [
            "tcp://198.18.0.29:80",
            "udp://[2001:db8::5]:53",
            "sctp://198.18.0.30:9",
            "fwmark6:7",
        ] {
            assert_eq!(text.parse::<ServiceId>().unwrap().to_string(), text);
        }
        assert_eq!(
            "198.18.0.29:80".parse::<ServiceId>().unwrap().to_string(),
            "tcp://198.18.0.29:80"
        );
        for wrong in [
            "",
            "80",
            "198.18.0.29",
            "icmp://198.18.0.29:80",
            "fwmark:0",
            "tcp://name:80",
        ] {
            assert!(wrong.parse::<ServiceId>().is_err(), "{wrong}");
        }
    }
}
