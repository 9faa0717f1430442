//! What drivers tell: a task runs, has ended, or is about to stop. Hints that make things fast, never the truth.
//!
//! The board holds what was told last about each task. It is laid over Nomad's view by host port, and forgotten once
//! Nomad says as much itself, shows that the task was started anew, or the hint's time is over.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::desired::Hinted;
use crate::model::AllocId;
use crate::model::fleet::{Allocation, Fleet, Phase, TaskState};

/// How long an exit counts against a Nomad that answers and says nothing of it: the start after it was not told to us.
pub const EXITED: Duration = Duration::from_secs(15);

/// How long a withdrawal counts after its own deadline.
pub const WITHDRAWN: Duration = Duration::from_secs(30);

/// How long any hint counts while Nomad does not answer at all.
pub const KEPT: Duration = Duration::from_mins(10);

/// What was told about a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// It runs: what was told before is over.
    Running,
    /// About to be stopped.
    Withdrawn,
    /// Its process has ended.
    Exited,
}

/// What was told last about a task.
#[derive(Debug, Clone)]
struct Note {
    hint: Hint,
    at: Instant,
    until: Instant,
    /// The task's start as Nomad showed it when it was first looked at: another one is a later one.
    start: Option<Arc<str>>,
}

type Notes = BTreeMap<(AllocId, String), Note>;

/// Nomad's view, and when Nomad last answered.
#[derive(Debug, Clone, Copy)]
pub struct Answered<'a> {
    pub fleet: &'a Fleet,
    pub at: Option<Instant>,
}

/// All hints; clones share them.
#[derive(Debug, Clone)]
pub struct Board {
    told: Arc<Mutex<Notes>>,
    changed: watch::Sender<()>,
}

impl Default for Board {
    fn default() -> Self {
        Self {
            told: Arc::default(),
            changed: watch::Sender::new(()),
        }
    }
}

impl Board {
    /// Notes a hint and wakes whoever listens. `limit` is how long a withdrawal has.
    pub fn tell(&self, alloc: AllocId, task: &str, hint: Hint, limit: Duration) {
        let key = (alloc, task.to_owned());
        let at = Instant::now();
        let until = match hint {
            Hint::Running | Hint::Exited => at + EXITED,
            Hint::Withdrawn => at + limit.min(KEPT) + WITHDRAWN,
        };
        let note = Note {
            hint,
            at,
            until,
            start: None,
        };
        let mut told = self.lock();
        match hint {
            Hint::Running => drop(told.remove(&key)),
            Hint::Withdrawn | Hint::Exited => drop(told.insert(key, note)),
        }
        drop(told);
        self.changed.send_replace(());
    }

    /// Notes a withdrawal that came at that time and is taken only now: an exit that was told meanwhile stays.
    pub fn withdraw(&self, alloc: AllocId, task: &str, limit: Duration, came: Instant) {
        let exited = |note: &Note| note.hint == Hint::Exited && note.at >= came;
        let stays = self
            .lock()
            .get(&(alloc, task.to_owned()))
            .is_some_and(exited);
        if !stays {
            self.tell(alloc, task, Hint::Withdrawn, limit);
        }
    }

    /// Wakes with each hint.
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// When the next hint's time is over.
    pub fn next_end(&self) -> Option<Instant> {
        let now = Instant::now();
        let told = self.lock();
        told.values()
            .map(|note| note.until)
            .filter(|until| *until > now)
            .min()
    }

    /// The hints as phases of host ports. Those that Nomad's view has caught up with are forgotten.
    pub fn phases(&self, nomad: Option<Answered<'_>>) -> Hinted {
        let Some(nomad) = nomad else {
            return Hinted::new();
        };
        let mut hinted = Hinted::new();
        self.lock().retain(|(id, task), note| {
            if note.is_over(nomad.at) {
                return false;
            }
            let Some(alloc) = nomad.fleet.get(*id) else {
                return true;
            };
            if note.started_anew(alloc, task) {
                return false;
            }
            let mut needed = false;
            for port in alloc.ports.iter().filter(|port| alloc.serves(task, port)) {
                let phase = alloc.phase(port.address);
                if phase.over() || phase == Phase::Lost {
                    continue;
                }
                needed = true;
                // Another allocation may have got the port by now.
                if nomad
                    .fleet
                    .at(port.address)
                    .is_some_and(|holder| holder.id == *id)
                {
                    hinted.insert(port.address, note.phase());
                }
            }
            needed
        });
        hinted
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.told
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Note {
    fn phase(&self) -> Phase {
        match self.hint {
            Hint::Exited => Phase::Complete,
            Hint::Withdrawn | Hint::Running => Phase::Stopping,
        }
    }

    /// Its time is over. A Nomad that has not answered since had no chance to say anything.
    fn is_over(&self, answered: Option<Instant>) -> bool {
        let heard = answered.is_some_and(|answered| answered > self.at);
        self.at.elapsed() >= KEPT
            || (self.until <= Instant::now() && (heard || self.hint == Hint::Withdrawn))
    }

    /// Whether Nomad shows that the task was started after this was told.
    fn started_anew(&mut self, alloc: &Allocation, task: &str) -> bool {
        let Some(task) = alloc.tasks.iter().find(|one| *one.name == *task) else {
            return false;
        };
        if self.start.is_none() {
            self.start.clone_from(&task.started);
        }
        task.state == TaskState::Running && self.start != task.started
    }
}

#[cfg(test)]
mod tests;
