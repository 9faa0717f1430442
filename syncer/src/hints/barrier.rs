//! The drain barrier on a director: waits until a task's real servers take nothing and carry nothing.
//!
//! It reads what the loop publishes and counts the connections of the task's own virtual services; the loop is not asked.
//! What is published may be older than the hint, so nothing is concluded before a pass has seen it. "Not here" is answered
//! only by a director that has read Nomad and knows what it says: one that does not know the allocation yet may well send
//! it packets.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipvs::{ServiceId, Weight};
use syncer_core::model::AllocId;
use syncer_core::model::fleet::Fleet;
use syncer_core::pass::PassState;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::admin::Count;
use crate::offer::Offers;
use crate::source::Published;
use crate::source::driver::{Board, Hint, Refusal, Speaker};

const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A Nomad that answers lists an allocation within this time, or has none of that id.
const UNLISTED_WAIT: Duration = Duration::from_secs(2);

/// How a withdrawal ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was no withdrawal, and is noted.
    Noted,
    /// This director has no real server of that task.
    Absent,
    /// It takes no new connections, and no open one is left.
    Drained,
    TimedOut,
}

/// Why a hint is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HintRefusal {
    #[error(
        "allocation {alloc} is on Nomad node {node} ({id}), and the certificate has neither of them nor the node's \
         address among its subject alternative names"
    )]
    OtherNode {
        alloc: AllocId,
        node: Arc<str>,
        id: Arc<str>,
    },
    #[error("allocation {alloc} has no task {task:?}")]
    NoTask { alloc: AllocId, task: String },
    #[error(transparent)]
    Board(#[from] Refusal),
}

/// What the barrier watches.
#[derive(Clone)]
pub struct Barrier {
    pub board: Board,
    pub fleet: watch::Receiver<Published<Fleet>>,
    pub passes: watch::Receiver<Arc<PassState>>,
    /// Counts connections beside the loop.
    pub count: Count,
    /// What nodes give to instances that answer past this director.
    pub offers: Offers,
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
    /// All have weight 0, with so many open connections.
    Quiesced(u32),
    Flowing,
}

/// Which ports a task has.
#[derive(Debug)]
enum Ports {
    Known(BTreeSet<SocketAddr>),
    /// Nomad has been read and has no such allocation.
    Unlisted,
    /// Nomad has not been read, or does not answer.
    Unread,
}

/// A task's real server in one virtual service.
type OwnReal = (ServiceId, SocketAddr, Weight);

impl Barrier {
    /// Takes a hint; answers a withdrawal when it is drained, or at the deadline.
    pub async fn take(
        &self,
        speaker: &Speaker,
        alloc: AllocId,
        task: &str,
        hint: Hint,
        limit: Duration,
    ) -> Result<Outcome, HintRefusal> {
        let serves = self.admit(speaker, alloc, task)?;
        if hint != Hint::Withdrawn {
            if serves {
                self.board.tell(speaker, alloc, task, hint, limit)?;
            }
            return Ok(Outcome::Noted);
        }
        if !serves {
            return Ok(Outcome::Absent);
        }
        // What serves is looked at before the hint changes it.
        let served = !Self::own(&self.state(), &self.ports(alloc, task), alloc).is_empty();
        self.board.tell(speaker, alloc, task, hint, limit)?;
        let drain = self.drain(alloc, task, served, self.board.version());
        let deadline = Instant::now() + limit;
        let outcome = timeout_at(deadline, drain).await;
        Ok(outcome.unwrap_or(Outcome::TimedOut))
    }

    /// Checks that the speaker may, as far as Nomad's view says; says whether the task may serve anything at all.
    fn admit(&self, speaker: &Speaker, id: AllocId, task: &str) -> Result<bool, HintRefusal> {
        let published = self.fleet.borrow();
        let Some(alloc) = published.view.as_ref().and_then(|fleet| fleet.get(id)) else {
            return Ok(true);
        };
        if !speaker.speaks_for(alloc) {
            return Err(HintRefusal::OtherNode {
                alloc: id,
                node: Arc::clone(&alloc.node_name),
                id: Arc::clone(&alloc.node_id),
            });
        }
        // Tasks that were not started yet are not listed.
        if !alloc.tasks.is_empty() && !alloc.tasks.iter().any(|known| *known.name == *task) {
            return Err(HintRefusal::NoTask {
                alloc: id,
                task: task.to_owned(),
            });
        }
        Ok(alloc.ports.iter().any(|port| alloc.serves(task, port)))
    }

    /// Waits until nothing flows, by the state of a pass that has seen the hint.
    async fn drain(&self, alloc: AllocId, task: &str, mut served: bool, hints: u64) -> Outcome {
        let started = Instant::now();
        // The kernel counts a handshake as active, but what it sent on last may be on its way yet: idle twice in a row is idle.
        let mut idle = 0;
        loop {
            let state = self.state();
            let ports = self.ports(alloc, task);
            let traffic = self.traffic(&state, &ports, alloc).await;
            let is_current = state.read && state.hints >= hints;
            match (traffic, &ports) {
                (Traffic::None, _) if is_current && served => return Outcome::Drained,
                (Traffic::None, Ports::Known(_)) if is_current => return Outcome::Absent,
                (Traffic::None, Ports::Unlisted)
                    if is_current && started.elapsed() >= UNLISTED_WAIT =>
                {
                    return Outcome::Absent;
                }
                (Traffic::None, _) => {}
                (Traffic::Quiesced(0), _) if is_current && served => idle += 1,
                (Traffic::Quiesced(_) | Traffic::Flowing, _) => {
                    served = true;
                    idle = 0;
                }
            }
            if idle == 2 {
                return Outcome::Drained;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    fn state(&self) -> Arc<PassState> {
        Arc::clone(&self.passes.borrow())
    }

    fn ports(&self, id: AllocId, task: &str) -> Ports {
        let published = self.fleet.borrow();
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
    }

    /// Lists the task's real servers: by its ports, or by the allocation that the catalogue names.
    fn own(state: &PassState, ports: &Ports, alloc: AllocId) -> Vec<OwnReal> {
        match ports {
            Ports::Known(ports) => {
                let at = |address: &SocketAddr| {
                    let address = *address;
                    let reals = state.at(address);
                    reals.map(move |(id, weight)| (id, address, weight))
                };
                ports.iter().flat_map(at).collect()
            }
            Ports::Unlisted | Ports::Unread => state.of_alloc(alloc).collect(),
        }
    }

    async fn traffic(&self, state: &PassState, ports: &Ports, alloc: AllocId) -> Traffic {
        let own = Self::own(state, ports, alloc);
        if own.is_empty() {
            let is_held = match ports {
                Ports::Known(ports) => ports.iter().any(|port| self.offers.is_held(*port)),
                Ports::Unlisted | Ports::Unread => false,
            };
            return if is_held {
                Traffic::Flowing
            } else {
                Traffic::None
            };
        }
        let is_fed = |(id, address, weight): &OwnReal| {
            let is_fed = || self.offers.is_fed(&(*id, *address));
            weight.serves() || (state.is_direct(id, *address) && is_fed())
        };
        if own.iter().any(is_fed) {
            return Traffic::Flowing;
        }
        let ids: BTreeSet<ServiceId> = own.iter().map(|(id, _, _)| *id).collect();
        let counts = (self.count)(ids.into_iter().collect()).await;
        let mut active: u32 = 0;
        for (id, address, _) in &own {
            match counts.get(&(*id, *address)) {
                Some(count) => active = active.saturating_add(count.active),
                // Gone meanwhile, or it could not be counted: a pass will tell, and until then nobody says that it is idle.
                None => return Traffic::Flowing,
            }
        }
        Traffic::Quiesced(active)
    }
}

#[cfg(test)]
pub(super) mod tests;
