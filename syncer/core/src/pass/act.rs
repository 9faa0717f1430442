//! The third part of a pass: its plan in batches of steps, and what came of each.

use std::time::{Duration, Instant};

use ipvs::{Command, errno};

use super::look::PassStart;
use super::refusal::contradicts;
use super::view::View;
use super::{Director, Notice, Now};
use crate::desired::{Desired, Holder, Scope};
use crate::plan::{Gate, Plan, SnatSet, Step};

/// How many steps are sent at once; after each batch the pass may end for something newer.
const BATCH: usize = 1_000;

/// How long a pass goes on while something newer waits. A removal elsewhere must not wait for a large addition.
const PASS_LIMIT: Duration = Duration::from_millis(500);

/// A pass that carries out its plan.
#[derive(Debug)]
pub struct Pass {
    pub(super) start: PassStart,
    pub(super) view: View,
    pub(super) desired: Desired,
    pub(super) plan: Plan,
    pub(super) scope: Scope,
    pub(super) progress: Progress,
    confirmation: Confirmation,
    gate: Gate,
    planned: Instant,
    /// The first step of the plan that is not sent yet.
    next: usize,
    sent: Vec<Step>,
}

/// What a pass has decided before its first step.
#[derive(Debug)]
pub(super) struct Decision {
    pub(super) view: View,
    pub(super) desired: Desired,
    pub(super) plan: Plan,
    /// What the plan has looked at.
    pub(super) scope: Scope,
    pub(super) confirmation: Confirmation,
}

/// Whether a pass needs a second, independent read of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmation {
    /// The pass asks for one now.
    Due,
    /// Nothing is held back, or an earlier pass has asked a short time ago.
    NotDue,
}

/// What came of a plan so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    pub(super) steps: usize,
    pub(super) failed: usize,
    /// How many of the failed steps the kernel understood and refused: nothing is in doubt after them.
    pub(super) refused: usize,
    /// How many of the failed steps have shown that the mirror is wrong: after a reading they are planned anew.
    pub(super) contradicted: usize,
    /// The pass ended before its last step, for something newer is known: the rest is planned anew.
    pub(super) cut: bool,
}

/// What a failed step leaves behind.
enum Aftermath {
    /// The kernel does not do this step, and nothing is in doubt.
    Refusal,
    /// The table is not what the mirror shows.
    Contradiction,
    /// Nobody knows what came of it.
    Ignorance,
}

/// Why a step was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The kernel understood it and did not do it.
    Refused {
        refused: ipvs::KernelRefusal,
        reason: String,
    },
    /// A VIP is somebody else's address.
    Taken { holder: Holder, reason: String },
    /// Anything else happened: nobody knows what came of the step.
    Other { reason: String },
}

impl Failure {
    fn reason(&self) -> &str {
        match self {
            Self::Refused { reason, .. } | Self::Taken { reason, .. } | Self::Other { reason } => {
                reason
            }
        }
    }
}

impl Pass {
    /// `snat` is what is rewritten before the first step.
    pub(super) fn new(
        start: PassStart,
        decision: Decision,
        snat: Option<&SnatSet>,
        now: Now,
    ) -> Self {
        let Decision {
            view,
            desired,
            plan,
            scope,
            confirmation,
        } = decision;
        Self {
            start,
            view,
            desired,
            plan,
            scope,
            progress: Progress::default(),
            confirmation,
            gate: Gate::new(snat),
            planned: now.steady,
            next: 0,
            sent: Vec::new(),
        }
    }

    /// Says whether to ask the catalogue's source for a second, independent read.
    pub fn confirmation(&self) -> Confirmation {
        self.confirmation
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Gives the next steps of one stage; what fails in one stage decides what may be done in the next.
    fn chunk(&mut self) -> Option<std::ops::Range<usize>> {
        let from = self.next;
        if from >= self.plan.steps.len() {
            return None;
        }
        let end = self.plan.stage_end(from);
        self.next = end.min(from.saturating_add(BATCH));
        Some(from..self.next)
    }
}

impl Director {
    /// The steps to do next, in order, whatever becomes of each; `None` when the pass has no more. A large plan ends early
    /// where something newer `is_known`.
    pub fn batch<'a>(
        &mut self,
        pass: &'a mut Pass,
        now: Now,
        is_known: impl Fn() -> bool,
    ) -> Option<&'a [Step]> {
        pass.sent.clear();
        while pass.sent.is_empty() {
            let late = now.steady.duration_since(pass.planned) >= PASS_LIMIT;
            if late && pass.next < pass.plan.steps.len() && is_known() {
                pass.progress.cut = true;
                break;
            }
            let Some(chunk) = pass.chunk() else { break };
            for step in pass.plan.steps.get(chunk).unwrap_or_default() {
                let table = &self.mirror.table;
                let is_refused = match step {
                    Step::Ipvs(command) => self.refusals.forbid(command, now.steady),
                    _ => false,
                };
                if is_refused {
                    pass.gate.fail(step, table);
                    pass.progress.failed += 1;
                    pass.progress.refused += 1;
                } else if pass.gate.lets(step, &pass.desired, table) {
                    pass.sent.push(step.clone());
                } else {
                    self.notices.push(Notice::Withheld(step.clone()));
                    pass.gate.fail(step, table);
                }
            }
        }
        (!pass.sent.is_empty()).then_some(&pass.sent)
    }

    /// Takes the outcomes of the last batch, one for each step.
    pub fn outcomes(
        &mut self,
        pass: &mut Pass,
        outcomes: impl IntoIterator<Item = Result<(), Failure>>,
        now: Now,
    ) {
        pass.progress.steps += pass.sent.len();
        for (step, outcome) in pass.sent.iter().zip(outcomes) {
            match outcome {
                Ok(()) => self.succeed(step),
                Err(failure) => {
                    pass.gate.fail(step, &self.mirror.table);
                    pass.progress.failed += 1;
                    match self.fail(step, &failure, now) {
                        Aftermath::Refusal => pass.progress.refused += 1,
                        Aftermath::Contradiction => pass.progress.contradicted += 1,
                        Aftermath::Ignorance => {}
                    }
                }
            }
        }
    }

    fn succeed(&mut self, step: &Step) {
        if let Step::Ipvs(command) = step {
            self.refusals.forget(command);
        }
        if !step.reflect(&mut self.mirror) {
            self.trust.doubt();
        }
    }

    fn fail(&mut self, step: &Step, failure: &Failure, now: Now) -> Aftermath {
        self.errors
            .add(now.steady, format!("{step}: {}", failure.reason()));
        match (step, failure) {
            (Step::Ipvs(_), Failure::Refused { refused, .. }) if contradicts(refused) => {
                if refused.errno == errno::EEXIST {
                    self.expected.push(refused.command);
                }
                self.trust.doubt();
                return Aftermath::Contradiction;
            }
            (Step::Ipvs(command), Failure::Refused { .. }) => {
                self.refusals.note(command, now.steady);
                return Aftermath::Refusal;
            }
            // The next look refuses whoever asks for it.
            (Step::AddVip(vip), Failure::Taken { holder, .. }) => {
                let occupied = &mut self.mirror.addresses.occupied;
                occupied.insert(*vip, holder.clone());
            }
            _ if step.doubt(&mut self.mirror) => self.trust.doubt(),
            _ => {}
        }
        Aftermath::Ignorance
    }

    /// Forgets refusals of what is not planned any more.
    pub(super) fn forget_refusals(&mut self, plan: &Plan) {
        if self.refusals.is_empty() {
            return;
        }
        let planned = |command: &Command| {
            let same = |step: &Step| matches!(step, Step::Ipvs(other) if other == command);
            plan.steps.iter().any(same)
        };
        self.refusals.keep(planned);
    }
}
