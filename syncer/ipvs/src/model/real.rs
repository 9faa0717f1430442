//! A real server of a virtual service, and the counts that the kernel keeps for it.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};

/// Share of new connections; 0 quiesces: no new ones, those there are go on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Weight(u32);

/// The kernel keeps weights as `int` and refuses negative ones.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a weight is 0 to 2147483647, not {0}")]
pub struct UnusableWeight(pub u32);

impl Weight {
    /// No new connections.
    pub const ZERO: Self = Self(0);
    /// One share.
    pub const ONE: Self = Self(1);
    /// The largest that the kernel takes.
    pub const MAX: Self = Self(i32::MAX as u32);

    /// The largest weight up to `value`.
    pub fn saturating(value: u32) -> Self {
        Self(value.min(Self::MAX.0))
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }

    /// Whether it takes new connections.
    pub fn serves(self) -> bool {
        self.0 > 0
    }
}

impl TryFrom<u32> for Weight {
    type Error = UnusableWeight;

    fn try_from(value: u32) -> Result<Self, Self::Error> {
        if value > Self::MAX.0 {
            Err(UnusableWeight(value))
        } else {
            Ok(Self(value))
        }
    }
}

impl From<Weight> for u32 {
    fn from(weight: Weight) -> Self {
        weight.0
    }
}

impl fmt::Debug for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// How packets get from the director to a real server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forwarding {
    /// Destination address and port are rewritten (`ipvsadm -m`).
    Masquerade,
    /// To a process on the director itself.
    Local,
    /// In an outer packet (`ipvsadm -i`).
    Tunnel(Tunnel),
    /// To the real server's link address, packet unchanged (`ipvsadm -g`).
    DirectRouting,
    /// To the original destination (transparent proxies).
    Bypass,
}

impl Forwarding {
    /// Gives its word, as tags and configurations have it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Masquerade => "masq",
            Self::DirectRouting => "dr",
            Self::Tunnel(_) => "tun",
            Self::Local => "local",
            Self::Bypass => "bypass",
        }
    }

    /// Whether a packet reaches the real server with the VIP as its destination, so that the real server has to take it, and
    /// answers past the director.
    pub fn keeps_vip(self) -> bool {
        matches!(self, Self::DirectRouting | Self::Tunnel(_))
    }
}

/// The outer packet of a tunnelled real server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tunnel {
    Ipip,
    /// Generic UDP encapsulation; `flags` are `IP_VS_TUNNEL_ENCAP_FLAG_*` (1 checksum, 2 remote checksum).
    Gue {
        port: NonZeroU16,
        flags: u16,
    },
    Gre {
        flags: u16,
    },
}

/// A real server takes nothing new from `upper` connections on until it is below `lower`; 0/0 is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Thresholds {
    pub upper: u32,
    pub lower: u32,
}

/// One real server; its address names it within its virtual service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RealServer {
    pub address: SocketAddr,
    pub weight: Weight,
    pub forwarding: Forwarding,
    #[serde(default)]
    pub thresholds: Thresholds,
}

impl RealServer {
    /// The same with another weight.
    #[must_use]
    pub fn with_weight(self, weight: Weight) -> Self {
        Self { weight, ..self }
    }
}

/// Connections that the kernel counts for a real server (live, unlike packet counters, which lag two seconds).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Connections {
    pub active: u32,
    pub inactive: u32,
    pub persistent: u32,
}

impl Connections {
    /// Whether nothing is left that could still carry a packet.
    pub fn idle(self) -> bool {
        self.active == 0 && self.inactive == 0
    }
}
