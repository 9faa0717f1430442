//! The drain barrier on a director: waits until a task's real servers take nothing and carry nothing.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::admin::Count;
use crate::model::AllocId;
use crate::model::fleet::Fleet;
use crate::reconcile;
use crate::source::Published;
use crate::source::driver::{Board, Hint};

const POLL: Duration = Duration::from_millis(50);

/// How a withdrawal ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Not a withdrawal: it was noted.
    Noted,
    /// This director has no real server of that task.
    Absent,
    /// It takes no new connections, and no open one is left.
    Drained,
    TimedOut,
}

/// What the barrier watches.
#[derive(Clone)]
pub struct Barrier {
    pub board: Board,
    pub fleet: Option<watch::Receiver<Published<Fleet>>>,
    pub ask: mpsc::Sender<oneshot::Sender<reconcile::Told>>,
    pub count: Count,
}

impl std::fmt::Debug for Barrier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Barrier").finish_non_exhaustive()
    }
}

/// What the kernel does with a task's real servers.
enum Traffic {
    None,
    /// Weight 0, with so many open connections.
    Quiesced(u32),
    Flowing,
}

impl Barrier {
    /// Takes a hint; answers a withdrawal when it is drained, or at the deadline.
    pub async fn take(&self, alloc: AllocId, task: &str, hint: Hint, limit: Duration) -> Outcome {
        let ports = self.ports(alloc, task);
        let deadline = Instant::now() + limit;
        if hint != Hint::Withdrawn {
            self.board.tell(alloc, task, hint);
            return Outcome::Noted;
        }
        if matches!(self.traffic(&ports).await, Traffic::None) {
            self.board.tell(alloc, task, hint);
            return Outcome::Absent;
        }
        self.board.tell(alloc, task, hint);
        // A connection whose handshake is under way is not counted as active yet: idle twice in a row is idle.
        let mut idle = 0;
        while idle < 2 {
            if Instant::now() >= deadline {
                return Outcome::TimedOut;
            }
            tokio::time::sleep(POLL).await;
            match self.traffic(&ports).await {
                Traffic::None => return Outcome::Drained,
                Traffic::Quiesced(0) => idle += 1,
                Traffic::Quiesced(_) | Traffic::Flowing => idle = 0,
            }
        }
        Outcome::Drained
    }

    fn ports(&self, alloc: AllocId, task: &str) -> BTreeSet<SocketAddr> {
        let view = self
            .fleet
            .as_ref()
            .and_then(|fleet| fleet.borrow().view.clone());
        let alloc = view.as_ref().and_then(|fleet| fleet.get(alloc));
        let ports = alloc
            .map(|alloc| alloc.ports.as_slice())
            .unwrap_or_default();
        let own = ports
            .iter()
            .filter(|port| port.task.as_ref().is_none_or(|own| **own == *task));
        own.map(|port| port.address).collect()
    }

    async fn traffic(&self, ports: &BTreeSet<SocketAddr>) -> Traffic {
        let (answer, answered) = oneshot::channel();
        if self.ask.send(answer).await.is_err() {
            return Traffic::Flowing;
        }
        let Ok(told) = answered.await else {
            return Traffic::Flowing;
        };
        let reals = told
            .services
            .iter()
            .flat_map(|service| &service.real_servers);
        let own = reals.filter(|real| {
            real.address
                .parse()
                .is_ok_and(|address| ports.contains(&address))
        });
        let weights: Vec<u32> = own.filter_map(|real| real.weight).collect();
        if weights.is_empty() {
            return Traffic::None;
        }
        if weights.iter().any(|weight| *weight > 0) {
            return Traffic::Flowing;
        }
        let counts = (self.count)(told.ids).await;
        let own = counts
            .iter()
            .filter(|((_, address), _)| ports.contains(address));
        Traffic::Quiesced(own.map(|(_, connections)| connections.active).sum())
    }
}
