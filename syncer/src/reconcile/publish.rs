//! After each pass: what it left behind, for all who read it.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::time::Instant;

use super::act::Done;
use super::state::{PassRecord, Unread, World};
use super::{Reason, Reconciler};
use crate::desired::Scope;
use crate::director::Director;
use crate::model::catalog::Catalog;

/// How many errors are kept for the status.
const KEPT_ERRORS: usize = 20;

/// Errors so far, the newest last.
#[derive(Debug, Default)]
pub(super) struct Errors(VecDeque<(Instant, String)>);

impl Errors {
    /// The same error again is the newest, not one more.
    pub(super) fn add(&mut self, what: String) {
        self.0.retain(|(_, known)| *known != what);
        self.0.push_back((Instant::now(), what));
        if self.0.len() > KEPT_ERRORS {
            self.0.pop_front();
        }
    }
}

impl<D: Director> Reconciler<D> {
    /// Publishes a pass that looked at `scope` and took `done`.
    pub(super) fn publish(&mut self, scope: &Scope, catalog: Option<&Catalog>) {
        let state = &self.state;
        let world = World {
            desired: &state.desired,
            table: &state.mirror.table,
            drains: &state.drains,
            last: &state.last,
            ownership: &self.policy.ownership,
        };
        self.passed.follow(scope, &world);
        self.passed.hold.clone_from(&state.losses.hold);
        self.passed.unread = catalog.map_or_else(Unread::default, |catalog| Unread {
            services: catalog.unread.len(),
            list: catalog.unlisted,
        });
    }

    /// The last word of a pass, whatever came of it.
    pub(super) fn conclude(&mut self, reason: Reason, started: Instant, done: Done, whole: bool) {
        let took = started.elapsed();
        let before = self.passed.pass;
        let number = before.map_or(0, |pass| pass.number);
        self.passed.pass = Some(PassRecord {
            number: number.saturating_add(1),
            reason,
            ended: Instant::now(),
            took,
            longest: before.map_or(took, |pass| pass.longest.max(took)),
            total: before.map_or(took, |pass| pass.total.saturating_add(took)),
            steps: done.steps,
            failed: done.failed,
            refused: done.refused,
            whole,
        });
        let state = &mut self.state;
        self.passed.complete |= whole;
        self.passed.read = state.read;
        self.passed.interval = self.audits.interval();
        if whole {
            state.drift.clear();
        }
        if self.passed.drift[..] != state.drift[..] {
            self.passed.drift = state.drift.clone().into();
        }
        let unreadable = state.mirror.unreadable.iter().map(ToString::to_string);
        if !unreadable
            .clone()
            .eq(self.passed.unreadable.iter().cloned())
        {
            self.passed.unreadable = unreadable.collect();
        }
        if !self.passed.errors.iter().eq(&state.errors.0) {
            self.passed.errors = state.errors.0.iter().cloned().collect();
        }
        self.publisher.send_replace(Arc::new(self.passed.clone()));
    }

    /// A change took that long from its source's answer to the kernel.
    pub(super) fn acknowledged(&mut self, arrived: Instant) {
        let micros = u64::try_from(arrived.elapsed().as_micros()).unwrap_or(u64::MAX);
        let ack = &mut self.passed.kernel_ack;
        ack.record(&mut self.state.acknowledged, micros);
    }
}
