//! The drain barrier on a director: waits until a task's real servers take nothing and carry nothing.
//!
//! "Not here" is answered only by a director that has read Nomad and knows what it says: one that does not know the
//! allocation yet may well send it packets.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use crate::admin::Count;
use crate::model::AllocId;
use crate::model::fleet::Fleet;
use crate::reconcile;
use crate::source::Published;
use crate::source::driver::{Board, Hint};
use crate::status::RealServerView;

const POLL: Duration = Duration::from_millis(50);

/// A Nomad that answers lists an allocation within this time, or has none of that id.
const UNLISTED: Duration = Duration::from_secs(2);

/// How a withdrawal ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Traffic {
    None,
    /// Weight 0, with so many open connections.
    Quiesced(u32),
    Flowing,
}

/// A task, and which ports it has.
struct Subject<'a> {
    alloc: String,
    task: &'a str,
    ports: Ports,
}

enum Ports {
    Known(BTreeSet<SocketAddr>),
    /// Nomad has been read and has no such allocation.
    Unlisted,
    /// Nomad has not been read, or does not answer.
    Unread,
}

impl Subject<'_> {
    /// By its port, or by what the catalogue says of where a registration comes from.
    fn has(&self, real: &RealServerView) -> bool {
        let of_alloc = real.alloc.as_ref() == Some(&self.alloc);
        match &self.ports {
            Ports::Known(ports) => real
                .address
                .parse()
                .is_ok_and(|address| ports.contains(&address)),
            Ports::Unlisted | Ports::Unread => {
                of_alloc && real.task.as_deref().is_none_or(|task| task == self.task)
            }
        }
    }
}

impl Barrier {
    /// Takes a hint; answers a withdrawal when it is drained, or at the deadline.
    pub async fn take(&self, alloc: AllocId, task: &str, hint: Hint, limit: Duration) -> Outcome {
        if hint != Hint::Withdrawn {
            self.board.tell(alloc, task, hint, limit);
            return Outcome::Noted;
        }
        let deadline = Instant::now() + limit;
        timeout_at(deadline, self.drained(alloc, task, limit))
            .await
            .unwrap_or(Outcome::TimedOut)
    }

    async fn drained(&self, alloc: AllocId, task: &str, limit: Duration) -> Outcome {
        let started = Instant::now();
        let mut served = false;
        // What serves is looked at before the hint changes it.
        let mut traffic = self.traffic(&self.subject(alloc, task)).await;
        self.board.withdraw(alloc, task, limit, started);
        // The kernel counts a handshake as active, but what it sent on last may be on its way yet: idle twice in a row is idle.
        let mut idle = 0;
        loop {
            match traffic {
                (Traffic::None, _) if served => return Outcome::Drained,
                (Traffic::None, Knowledge::Whole) => return Outcome::Absent,
                (Traffic::None, Knowledge::Unlisted) if started.elapsed() >= UNLISTED => {
                    return Outcome::Absent;
                }
                (Traffic::None, _) => {}
                (Traffic::Quiesced(0), _) if served => idle += 1,
                (Traffic::Quiesced(_) | Traffic::Flowing, _) => {
                    served = true;
                    idle = 0;
                }
            }
            if idle == 2 {
                return Outcome::Drained;
            }
            tokio::time::sleep(POLL).await;
            traffic = self.traffic(&self.subject(alloc, task)).await;
        }
    }

    fn subject<'a>(&self, id: AllocId, task: &'a str) -> Subject<'a> {
        let ports = self.fleet.as_ref().map_or(Ports::Unlisted, |fleet| {
            let published = fleet.borrow();
            let Some(view) = &published.view else {
                return Ports::Unread;
            };
            match view.get(id) {
                Some(alloc) => {
                    let own = alloc.ports.iter().filter(|port| alloc.serves(task, port));
                    Ports::Known(own.map(|port| port.address).collect())
                }
                None if published.error.is_some() => Ports::Unread,
                None => Ports::Unlisted,
            }
        });
        Subject {
            alloc: id.to_string(),
            task,
            ports,
        }
    }

    async fn traffic(&self, subject: &Subject<'_>) -> (Traffic, Knowledge) {
        let knowledge = match subject.ports {
            Ports::Known(_) => Knowledge::Whole,
            Ports::Unlisted => Knowledge::Unlisted,
            Ports::Unread => Knowledge::None,
        };
        (self.carried(subject).await, knowledge)
    }

    async fn carried(&self, subject: &Subject<'_>) -> Traffic {
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
        let own: Vec<&RealServerView> = reals
            .filter(|real| real.weight.is_some() && subject.has(real))
            .collect();
        if own.is_empty() {
            return Traffic::None;
        }
        if own.iter().any(|real| real.weight > Some(0)) {
            return Traffic::Flowing;
        }
        let own: BTreeSet<SocketAddr> = own
            .iter()
            .filter_map(|real| real.address.parse().ok())
            .collect();
        let counts = (self.count)(told.ids).await;
        let own = counts
            .iter()
            .filter(|((_, address), _)| own.contains(address));
        Traffic::Quiesced(own.map(|(_, connections)| connections.active).sum())
    }
}

/// What "no real server of it" is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Knowledge {
    Whole,
    Unlisted,
    None,
}

#[cfg(test)]
pub(super) mod tests;
