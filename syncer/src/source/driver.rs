//! What drivers tell: a task runs, has ended, or is about to stop. Hints that make things fast, never the truth.
//!
//! The board holds what was told last about each task. It is laid over Nomad's view by host port, and forgotten once
//! Nomad says as much itself, or after [`KEPT`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::desired::Hinted;
use crate::model::AllocId;
use crate::model::fleet::{Fleet, Phase};

/// Nomad has said it by then, or never will.
pub const KEPT: Duration = Duration::from_mins(10);

/// What was told about a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hint {
    /// It runs: what was told before is over.
    Running,
    /// About to be stopped.
    Withdrawn,
    /// Its process has ended.
    Exited,
}

/// What was told last about each task, and when.
type Notes = BTreeMap<(AllocId, String), (Hint, Instant)>;

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
    /// Notes a hint and wakes whoever listens.
    pub fn tell(&self, alloc: AllocId, task: &str, hint: Hint) {
        let key = (alloc, task.to_owned());
        let mut told = self.lock();
        match hint {
            Hint::Running => drop(told.remove(&key)),
            Hint::Withdrawn | Hint::Exited => drop(told.insert(key, (hint, Instant::now()))),
        }
        drop(told);
        self.changed.send_replace(());
    }

    /// Wakes with each hint.
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// The hints as phases of host ports. Those that Nomad's view has caught up with are forgotten.
    pub fn phases(&self, fleet: Option<&Fleet>) -> Hinted {
        let Some(fleet) = fleet else {
            return Hinted::new();
        };
        let mut hinted = Hinted::new();
        self.lock().retain(|(alloc, task), (hint, at)| {
            let Some(alloc) = fleet.get(*alloc) else {
                return at.elapsed() < KEPT;
            };
            let mut needed = false;
            for port in alloc
                .ports
                .iter()
                .filter(|port| port.task.as_ref().is_none_or(|own| **own == **task))
            {
                let phase = alloc.phase(port.address);
                if phase.over() || phase == Phase::Lost {
                    continue;
                }
                needed = true;
                let told = if *hint == Hint::Exited {
                    Phase::Complete
                } else {
                    Phase::Stopping
                };
                hinted.insert(port.address, told);
            }
            needed && at.elapsed() < KEPT
        });
        hinted
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.told
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
