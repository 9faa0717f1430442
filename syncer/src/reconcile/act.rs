//! Carries a plan out, stage by stage, and keeps the mirror in step.

use std::time::Duration;

use ipvs::Command;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::refusal::contradicts;
use super::{Inputs, Reconciler};
use crate::desired::Desired;
use crate::director::{Director, DirectorError, Reading};
use crate::plan::{Gate, Plan, Step};

/// How many steps are sent at once; after each batch something newer may be heeded.
const BATCH: usize = 1_000;

/// How long a plan is carried out while something newer waits. What goes elsewhere must not wait for a large addition.
const PASS_LIMIT: Duration = Duration::from_millis(500);

/// What came of a plan.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Done {
    pub(super) steps: usize,
    pub(super) failed: usize,
    /// Those of the failed that the kernel understood and refused: nothing is in doubt after them.
    pub(super) refused: usize,
    /// It ended before its last step, for something newer is known: the rest is planned anew.
    pub(super) cut: bool,
}

impl<D: Director> Reconciler<D> {
    pub(super) async fn act(&mut self, desired: &Desired, plan: &Plan) -> Done {
        let mut done = Done::default();
        if !plan.steps.is_empty() {
            let snat = self.state.mirror.snat.clone();
            let mut gate = Gate::new(desired, snat.as_ref());
            let started = Instant::now();
            let batches = plan.in_stages().map(|stage| stage.chunks(BATCH));
            for batch in batches.into_iter().flatten() {
                if started.elapsed() >= PASS_LIMIT && self.is_outdated() {
                    done.cut = true;
                    break;
                }
                self.stage(batch, &mut gate, &mut done).await;
            }
        }
        if !self.state.refusals.is_empty() {
            let planned = |command: &Command| {
                let same = |step: &Step| matches!(step, Step::Ipvs(other) if other == command);
                plan.steps.iter().any(same)
            };
            self.state.refusals.keep(planned);
        }
        done
    }

    /// Whether a source has told something since this pass looked.
    fn is_outdated(&self) -> bool {
        let Inputs { catalog, fleet, .. } = &self.inputs;
        let fleet = fleet.as_ref().map(watch::Receiver::has_changed);
        let told = [
            Some(catalog.has_changed()),
            fleet,
            Some(self.hinted.has_changed()),
        ];
        // One that is closed tells nothing any more.
        told.into_iter().flatten().any(Result::unwrap_or_default)
    }

    async fn stage(&mut self, stage: &[Step], gate: &mut Gate<'_>, done: &mut Done) {
        let state = &mut self.state;
        let now = Instant::now();
        let mut sent = Vec::with_capacity(stage.len());
        for step in stage {
            let known = match step {
                Step::Ipvs(command) => state.refusals.forbid(command, now),
                _ => false,
            };
            if known {
                gate.failed(step, &state.mirror.table);
                (done.failed, done.refused) = (done.failed + 1, done.refused + 1);
            } else if gate.lets(step, &state.mirror.table) {
                sent.push(step.clone());
            } else {
                debug!(%step, "not done, for what it rests on failed");
                gate.failed(step, &state.mirror.table);
            }
        }
        if sent.is_empty() {
            return;
        }
        let outcomes = self.director.apply(&sent).await;
        done.steps += sent.len();
        for (step, outcome) in sent.iter().zip(outcomes) {
            match outcome {
                Ok(()) => self.did(step),
                Err(error) => {
                    gate.failed(step, &self.state.mirror.table);
                    done.failed += 1;
                    done.refused += usize::from(self.did_not(step, &error));
                }
            }
        }
    }

    fn did(&mut self, step: &Step) {
        debug!(%step, "done");
        let state = &mut self.state;
        if let Step::Ipvs(command) = step {
            state.refusals.done(command);
        }
        state.doubtful |= !reflect(&mut state.mirror, step);
    }

    /// Says whether it was plainly refused.
    fn did_not(&mut self, step: &Step, error: &DirectorError) -> bool {
        let told = error.told();
        warn!(%step, error = told, "step failed");
        let state = &mut self.state;
        state.errors.add(format!("{step}: {told}"));
        match (step, error) {
            (Step::Ipvs(command), DirectorError::Refused(refused)) if !contradicts(refused) => {
                state.refusals.note(command, Instant::now());
                true
            }
            (Step::Ipvs(_), _) => {
                state.doubtful = true;
                false
            }
            (Step::AddVip(vip), DirectorError::Taken { holder, .. }) => {
                // The next look refuses whoever asks for it.
                let occupied = &mut state.mirror.addresses.occupied;
                occupied.insert(*vip, holder.clone());
                false
            }
            (Step::SetSnat(_), _) => {
                state.mirror.snat = None;
                false
            }
            (
                Step::SetSysctl(_)
                | Step::AddVip(_)
                | Step::RemoveVip(_)
                | Step::ForgetFlows(..)
                | Step::ForgetUnanswered(_),
                _,
            ) => false,
        }
    }
}

/// What the kernel has after a step; false where that is not sure.
fn reflect(mirror: &mut Reading, step: &Step) -> bool {
    match step {
        Step::Ipvs(command) => return mirror.table.apply(command).is_ok(),
        Step::SetSysctl(sysctl) => drop(mirror.sysctls.remove(sysctl)),
        Step::SetSnat(services) => mirror.snat = Some(services.clone()),
        Step::AddVip(vip) => {
            mirror.addresses.present.insert(*vip);
            mirror.addresses.ours.insert(*vip);
        }
        Step::RemoveVip(vip) => {
            mirror.addresses.present.remove(vip);
            mirror.addresses.ours.remove(vip);
        }
        Step::ForgetFlows(..) | Step::ForgetUnanswered(_) => {}
    }
    true
}
