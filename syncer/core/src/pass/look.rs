//! The first part of a pass: what it has to look at, and what was found.

use std::collections::BTreeSet;
use std::time::Instant;

use ipvs::ServiceId;

use super::drift::drift;
use super::{Director, Notice, Now, Reason, Trust};
use crate::desired::Scope;
use crate::reading::{Counts, Reading};

/// What a pass has to know before it can plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// All that the data plane has. [`Director::table`] says what should be found.
    Read,
    /// The connections of these virtual services.
    Count(Vec<ServiceId>),
    /// Nothing: the mirror is enough.
    Nothing,
}

/// The start of a pass: why, and when.
#[derive(Debug, Clone, Copy)]
pub struct PassStart {
    pub(super) reason: Reason,
    pub(super) at: Instant,
}

impl Director {
    /// Begins a pass, and says what to look at for it.
    pub fn begin(&mut self, reason: Reason, now: Now) -> (PassStart, Look) {
        let start = PassStart {
            reason,
            at: now.steady,
        };
        if self.trust != Trust::Current || reason == Reason::Audit {
            for command in std::mem::take(&mut self.expected) {
                // What the mirror has already is expected anyway.
                let _ = self.mirror.table.apply(&command);
            }
            return (start, Look::Read);
        }
        self.mirror.counts.clear();
        let draining: BTreeSet<ServiceId> = self.drains.0.keys().map(|(id, _)| *id).collect();
        let look = if draining.is_empty() {
            Look::Nothing
        } else {
            Look::Count(draining.into_iter().collect())
        };
        (start, look)
    }

    /// What was read, or why it could not be. `start` is when the reading was; it ends `now`. Says whether there is
    /// something to plan against.
    #[must_use]
    pub fn read(&mut self, answer: Result<Reading, String>, start: Instant, now: Now) -> bool {
        self.audits
            .read_took(now.steady.duration_since(start), now.steady);
        let mut reading = match answer {
            Ok(reading) => reading,
            Err(error) => {
                self.errors
                    .add(now.steady, format!("reading the kernel: {error}"));
                self.trust.doubt();
                return false;
            }
        };
        if self.trust == Trust::Current {
            for what in drift(&self.mirror, &reading, &self.desired) {
                self.notices.push(Notice::Drift(what.clone()));
                if !self.drift.contains(&what) {
                    self.drift.push(what);
                }
            }
        }
        if reading.unreadable != self.mirror.unreadable {
            let entries = reading.unreadable.iter();
            let entries = entries.map(|entry| Notice::Unreadable(entry.to_string()));
            self.notices.extend(entries);
        }
        self.snat_lost |= self.mirror.snat.is_some() && self.mirror.snat != reading.snat;
        reading.table.share_with(&self.mirror.table);
        self.mirror = reading;
        self.scope = Scope::Whole;
        self.trust = Trust::Current;
        true
    }

    /// Takes the connections that were counted, or the reason why they could not be.
    pub fn count(&mut self, answer: Result<Counts, String>, now: Now) {
        match answer {
            Ok(counts) => self.mirror.counts = counts,
            Err(error) => self
                .errors
                .add(now.steady, format!("counting connections: {error}")),
        }
    }
}
