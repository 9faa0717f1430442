//! Drains: which real servers are on their way out, and until when at the latest. Pure.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use ipvs::ServiceId;
use serde::{Deserialize, Serialize};

use crate::model::Moment;

/// How often the connections of a draining real server are counted.
pub const COUNT_INTERVAL: Duration = Duration::from_millis(200);

/// One real server on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    pub since: Moment,
    pub deadline: Moment,
}

/// All real servers on their way out. On disk it is a list, for JSON has no keys of two parts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Vec<SavedDrain>", into = "Vec<SavedDrain>")]
pub struct Drains(pub BTreeMap<(ServiceId, SocketAddr), Drain>);

#[derive(Serialize, Deserialize)]
struct SavedDrain {
    service: ServiceId,
    real_server: SocketAddr,
    #[serde(flatten)]
    drain: Drain,
}

impl From<Vec<SavedDrain>> for Drains {
    fn from(saved: Vec<SavedDrain>) -> Self {
        Self(
            saved
                .into_iter()
                .map(|saved| ((saved.service, saved.real_server), saved.drain))
                .collect(),
        )
    }
}

impl From<Drains> for Vec<SavedDrain> {
    fn from(drains: Drains) -> Self {
        let saved = |((service, real_server), drain)| SavedDrain {
            service,
            real_server,
            drain,
        };
        drains.0.into_iter().map(saved).collect()
    }
}

/// The next step for a real server that drains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// It gets weight 0 now; counts from before say nothing about after.
    Quiesce(Drain),
    Wait(Drain),
    Remove,
}

impl Drains {
    /// Decides the next step of a drain. A deadline is never further away than `limit`, whatever the clock did meanwhile.
    pub(super) fn next(
        &self,
        key: &(ServiceId, SocketAddr),
        serves: bool,
        is_idle: bool,
        limit: Duration,
        now: Moment,
    ) -> Next {
        let latest = now.after(limit);
        let drain = match self.0.get(key) {
            Some(drain) => Drain {
                since: drain.since.min(now),
                deadline: drain.deadline.min(latest),
            },
            None => Drain {
                since: now,
                deadline: latest,
            },
        };
        if now >= drain.deadline {
            Next::Remove
        } else if serves {
            Next::Quiesce(drain)
        } else if is_idle {
            Next::Remove
        } else {
            Next::Wait(drain)
        }
    }
}
