//! What is known of one task: which hints about it count, and until when at the latest.
//!
//! A kind of hint counts once for each start of the task: its time runs from the first of that kind, whatever is told
//! again, and whether or not Nomad answers. A new start, as Nomad shows it, begins with a new note.

use std::sync::Arc;
use std::time::Duration;

use syncer_core::model::fleet::{Allocation, Phase, TaskState};
use tokio::time::Instant;

use super::{EXIT_LIMIT, Hint, LONGEST_WITHDRAWAL, Speaker, WITHDRAWAL_MARGIN};

/// A hint of one kind.
#[derive(Debug, Clone, Copy)]
struct Record {
    until: Instant,
    /// Whether no later *running* has taken it back.
    holds: bool,
}

/// All hints about one task since its start.
#[derive(Debug, Clone)]
pub(super) struct Note {
    pub(super) speaker: Speaker,
    exited: Option<Record>,
    withdrawn: Option<Record>,
    /// The task's start as Nomad showed it when it was first looked at: another one is a later one.
    start: Option<Arc<str>>,
}

impl Note {
    pub(super) fn new(speaker: Speaker) -> Self {
        Self {
            speaker,
            exited: None,
            withdrawn: None,
            start: None,
        }
    }

    /// Takes a hint in. `limit` is how long a withdrawal has.
    pub(super) fn tell(&mut self, hint: Hint, limit: Duration, now: Instant) {
        let (record, lasts) = match hint {
            Hint::Running => {
                let all = [&mut self.exited, &mut self.withdrawn];
                for record in all.into_iter().flatten() {
                    record.holds = false;
                }
                return;
            }
            Hint::Exited => (&mut self.exited, EXIT_LIMIT),
            Hint::Withdrawn => {
                let limit = limit.min(LONGEST_WITHDRAWAL);
                (&mut self.withdrawn, limit + WITHDRAWAL_MARGIN)
            }
        };
        let until = now + lasts;
        record.get_or_insert(Record { until, holds: true }).holds = true;
    }

    /// Gives the phase that the hints give the task's ports now.
    pub(super) fn phase(&self, now: Instant) -> Option<Phase> {
        let counts = |record: Option<Record>| {
            record.is_some_and(|record| record.holds && now < record.until)
        };
        if counts(self.exited) {
            Some(Phase::Complete)
        } else {
            counts(self.withdrawn).then_some(Phase::Stopping)
        }
    }

    /// Says when the next hint that counts now expires.
    pub(super) fn next_end(&self, now: Instant) -> Option<Instant> {
        let record = [self.exited, self.withdrawn].into_iter().flatten();
        let counting = record.filter(|record| record.holds && now < record.until);
        counting.map(|record| record.until).min()
    }

    /// Whether all hints have expired: the note only says that they were given already.
    pub(super) fn is_spent(&self, now: Instant) -> bool {
        let mut record = [self.exited, self.withdrawn].into_iter().flatten();
        record.all(|record| record.until <= now)
    }

    /// Whether Nomad shows that the task was started after these hints.
    pub(super) fn started_anew(&mut self, alloc: &Allocation, task: &str) -> bool {
        let Some(task) = alloc.tasks.iter().find(|known| *known.name == *task) else {
            return false;
        };
        if self.start.is_none() {
            self.start.clone_from(&task.started);
        }
        task.state == TaskState::Running && self.start != task.started
    }
}
