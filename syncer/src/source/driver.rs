//! What drivers tell: a task runs, has ended, or is about to stop. Hints that make things fast, never the truth.
//!
//! The board holds what was told about each task since its start. It is laid over Nomad's view by host port, as far as the
//! one who told it speaks for the allocation. Each kind counts for a bounded time (`note`), and is forgotten once Nomad
//! says as much itself or shows that the task was started anew. How many notes there are is bounded, too.

mod note;
mod speaker;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::debug;

use note::Note;
pub use speaker::Speaker;

use syncer_core::desired::HintPhases;
use syncer_core::model::AllocId;
use syncer_core::model::fleet::{Allocation, Fleet, Phase};

/// How long an exit counts: by then Nomad and Consul say it themselves.
pub const EXIT_LIMIT: Duration = Duration::from_secs(15);

/// How long a withdrawal counts after its own deadline.
pub const WITHDRAWAL_MARGIN: Duration = Duration::from_secs(30);

/// The longest deadline of a withdrawal that counts.
pub const LONGEST_WITHDRAWAL: Duration = Duration::from_mins(10);

/// Tasks of one node that are noted at a time: more than a node has.
pub const NODE_NOTES: usize = 1024;

/// Tasks that are noted at a time.
pub const ALL_NOTES: usize = 8192;

/// What a driver says about a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// It runs: what was told before is over.
    Running,
    /// About to be stopped.
    Withdrawn,
    /// Its process has ended.
    Exited,
}

/// Why a hint is not noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("hints about {NODE_NOTES} tasks of this node are noted already")]
    NodeFull,
    #[error("hints about {ALL_NOTES} tasks are noted already")]
    Full,
}

type Notes = BTreeMap<(AllocId, Arc<str>), Note>;

/// All hints; clones share them.
#[derive(Debug, Clone)]
pub struct Board {
    notes: Arc<Mutex<Notes>>,
    /// How often the outcome of all hints has changed.
    version: watch::Sender<u64>,
}

impl Default for Board {
    fn default() -> Self {
        Self {
            notes: Arc::default(),
            version: watch::Sender::new(0),
        }
    }
}

impl Board {
    /// Notes a hint, and wakes whoever listens if it changes anything. `limit` is how long a withdrawal has.
    pub fn tell(
        &self,
        speaker: &Speaker,
        alloc: AllocId,
        task: &str,
        hint: Hint,
        limit: Duration,
    ) -> Result<(), Refusal> {
        let now = Instant::now();
        let mut notes = self.lock();
        let key = (alloc, Arc::from(task));
        if !notes.contains_key(&key) {
            if hint == Hint::Running {
                return Ok(());
            }
            if notes.len() >= ALL_NOTES {
                return Err(Refusal::Full);
            }
            let of_node = notes.values().filter(|note| note.speaker == *speaker);
            if *speaker != Speaker::Anybody && of_node.count() >= NODE_NOTES {
                return Err(Refusal::NodeFull);
            }
        }
        let note = notes
            .entry(key)
            .or_insert_with(|| Note::new(speaker.clone()));
        // A node's certificate may have been replaced meanwhile; its hints' time runs on.
        note.speaker = speaker.clone();
        let before = note.phase(now);
        note.tell(hint, limit, now);
        let changed = note.phase(now) != before;
        drop(notes);
        if changed {
            self.version.send_modify(|version| *version += 1);
        }
        Ok(())
    }

    /// Wakes with each hint that changes anything.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// How often anything has changed; whoever looks at the hints later has seen as many changes.
    pub fn version(&self) -> u64 {
        *self.version.borrow()
    }

    /// Says when the next hint expires.
    pub fn next_end(&self) -> Option<Instant> {
        let now = Instant::now();
        let notes = self.lock();
        notes.values().filter_map(|note| note.next_end(now)).min()
    }

    /// The hints as phases of host ports. Those that Nomad's view has caught up with are forgotten.
    pub fn phases(&self, fleet: Option<&Fleet>) -> HintPhases {
        let now = Instant::now();
        let mut hinted = HintPhases::new();
        self.lock().retain(|(id, task), note| {
            let Some((fleet, alloc)) = fleet.and_then(|fleet| Some((fleet, fleet.get(*id)?))) else {
                return !note.is_spent(now);
            };
            if !note.speaker.speaks_for(alloc) {
                debug!(alloc = %id, "a hint of a node on which the allocation is not; it is forgotten");
                return false;
            }
            !note.started_anew(alloc, task) && lay(&mut hinted, fleet, alloc, task, note.phase(now))
        });
        hinted
    }

    fn lock(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lays a task's phase over its ports; says whether it may still be of use.
fn lay(
    hinted: &mut HintPhases,
    fleet: &Fleet,
    alloc: &Allocation,
    task: &str,
    phase: Option<Phase>,
) -> bool {
    let mut needed = false;
    for port in alloc.ports.iter().filter(|port| alloc.serves(task, port)) {
        let known = alloc.phase(port.address);
        if known.over() || known == Phase::Lost {
            continue;
        }
        needed = true;
        // Another allocation may have got the port by now.
        let holder = fleet.at(port.address);
        if let Some(phase) = phase
            && holder.is_some_and(|holder| holder.id == alloc.id)
        {
            hinted.insert(port.address, phase);
        }
    }
    needed
}

#[cfg(test)]
mod tests;
