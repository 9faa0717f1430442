//! Our words for what Nomad and Consul say, free of their JSON. Pure.
//!
//! [`catalog`] is Consul's view (services and their instances), [`fleet`] is Nomad's (allocations and their ports),
//! [`policy`] is what a virtual service shall be like. Snapshots are whole and immutable; they are shared by `Arc`.

pub mod catalog;
pub mod fleet;
pub mod policy;
pub mod safeguard;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point in time, in milliseconds since 1970: it has to mean the same after a restart.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Moment(pub u64);

impl Moment {
    /// That much later.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
        )
    }

    /// Time from then to this moment; zero when `then` is later.
    pub fn since(self, then: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(then.0))
    }
}

/// Something of an answer that can't be used; its neighbours are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its id, or where it stands in the answer.
    pub what: String,
    pub reason: String,
}

/// A Nomad allocation's id. 16 bytes instead of 36 characters: comparing and hashing them is most of a large pass.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AllocId(pub u128);

/// Why a text is no allocation id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an allocation id")]
pub struct NoAllocId;

impl FromStr for AllocId {
    type Err = NoAllocId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        uuid::Uuid::try_parse(text)
            .map(|id| Self(id.as_u128()))
            .map_err(|_| NoAllocId)
    }
}

impl fmt::Display for AllocId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_u128(self.0).fmt(f)
    }
}

impl fmt::Debug for AllocId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
