//! The last part of a pass: what it leaves to the next, to the disk, to the prober and to whoever reads.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::act::{Pass, Progress};
use super::look::PassStart;
use super::state::{PassRecord, PassState, Unread, World};
use super::view::{NOMAD_TIMEOUT, Nomad, View};
use super::{Director, Key, Now, Trust};
use crate::desired::{Desired, Scope, Want};
use crate::memory::Memory;
use crate::model::Moment;
use crate::model::catalog::Catalog;
use crate::plan::Plan;

/// What a pass leaves behind.
#[derive(Debug)]
pub struct Finish {
    /// What everybody may read.
    pub state: Arc<PassState>,
    /// What has to be on the disk; `None` where there was nothing to plan against.
    pub memory: Option<Memory>,
    /// Endpoints that are on trial; `None`: as before.
    pub trials: Option<Trials>,
    /// When to run a pass although nothing happened; an audit may be due before.
    pub wake: Option<Instant>,
}

/// Endpoints that have to show something before they serve.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trials {
    /// They take one connection from the director.
    pub probes: BTreeSet<Key>,
    /// Their nodes take packets to the VIP, for answers by-pass the director.
    pub offers_due: BTreeSet<Key>,
}

impl Director {
    /// Ends a pass that had nothing to plan against.
    pub fn give_up(&mut self, start: PassStart, now: Now) -> Finish {
        let progress = Progress {
            failed: 1,
            ..Progress::default()
        };
        let wake = now.steady + self.failures.fail();
        Finish {
            state: self.conclude(start, progress, false, now),
            memory: None,
            trials: None,
            wake: Some(wake),
        }
    }

    /// Ends a pass whose steps are done, as far as they are.
    pub fn finish(&mut self, pass: Pass, now: Now) -> Finish {
        let Pass {
            start,
            view,
            desired,
            plan,
            scope,
            progress,
            ..
        } = pass;
        self.forget_refusals(&plan);
        if progress.failed == 0 && !progress.cut {
            self.scope = plan.next.clone();
        }
        self.acknowledge(&view, progress, now);
        let memory = self.remember(desired, &plan, &scope);
        self.forget_trials();
        let wake = self.wake(&plan, progress, &view, now);
        let whole =
            progress.failed == progress.refused && self.trust == Trust::Current && !progress.cut;
        self.follow(&scope, view.catalog.as_deref(), view.hints);
        Finish {
            state: self.conclude(start, progress, whole, now),
            memory: Some(memory),
            trials: Some(Trials {
                probes: plan.probes.into_iter().collect(),
                offers_due: plan.offers_due.into_iter().collect(),
            }),
            wake,
        }
    }

    /// Records how long a change took from its source's answer, if this pass has brought it into the kernel.
    fn acknowledge(&mut self, view: &View, progress: Progress, now: Now) {
        let fresh = self.seen_arrival != view.arrived;
        self.seen_arrival = view.arrived;
        let all = progress.steps > 0 && progress.failed == 0 && !progress.cut;
        if let Some(arrived) = view.arrived.filter(|_| fresh && all) {
            let took = now.steady.duration_since(arrived);
            self.latencies.record(took, &mut self.passed.kernel_ack);
        }
    }

    fn remember(&mut self, desired: Desired, plan: &Plan, scope: &Scope) -> Memory {
        self.drains = plan.drains.clone();
        self.ramps = plan.ramps.clone();
        if desired.complete {
            self.last.renew(scope, &desired, &self.mirror.table);
        }
        self.desired = desired;
        Memory {
            services: self.last.clone(),
            drains: self.drains.clone(),
            addresses: self.mirror.addresses.ours.clone(),
            addresses_lost: false,
        }
    }

    /// One that serves as it should, or that nobody wants any more, has to prove itself anew next time.
    fn forget_trials(&mut self) {
        self.warmed.retain(|(id, address)| {
            let Some(service) = self.desired.services.get(id) else {
                return false;
            };
            let endpoints = &service.endpoints;
            let at = endpoints.binary_search_by_key(address, |endpoint| endpoint.address);
            let wanted = at.is_ok_and(|at| {
                let endpoint = endpoints.get(at);
                endpoint.is_some_and(|endpoint| {
                    matches!(
                        endpoint.want,
                        Want::Serve(_) | Want::Warm(_) | Want::Doubt(_)
                    )
                })
            });
            let current = self.mirror.table.get(id);
            let serves = current
                .and_then(|current| current.real(*address))
                .is_some_and(|real| real.weight.serves());
            wanted && !serves
        });
    }

    fn wake(&mut self, plan: &Plan, progress: Progress, view: &View, now: Now) -> Option<Instant> {
        let steady = |at: Moment| now.steady + at.since(now.wall);
        let mut wakes: Vec<Instant> = plan.wake_at.map(steady).into_iter().collect();
        wakes.extend(progress.cut.then_some(now.steady));
        wakes.extend(self.refusals.next(now.steady));
        if progress.failed > progress.refused || self.trust != Trust::Current {
            // A reading is all that a contradiction needs; one that comes again after it waits like any failure.
            let needs_reading = progress.failed == progress.refused + progress.contradicted;
            let at_once = needs_reading && self.failures.is_reset();
            let wait = self.failures.fail();
            wakes.push(now.steady + if at_once { Duration::ZERO } else { wait });
        } else {
            self.failures.reset();
        }
        wakes.extend(view.hint_ends);
        wakes.extend(
            self.confirmation_request
                .map(|at| at + self.confirmation_interval),
        );
        let timeout = self.started + NOMAD_TIMEOUT;
        if matches!(view.nomad, Nomad::Awaited) && now.steady < timeout {
            wakes.push(timeout);
        }
        wakes.into_iter().min()
    }

    /// Puts whatever a pass over `scope` may have changed into the state that is published next.
    fn follow(&mut self, scope: &Scope, catalog: Option<&Catalog>, hints: u64) {
        let world = World {
            desired: &self.desired,
            table: &self.mirror.table,
            drains: &self.drains,
            last: &self.last,
            ownership: &self.policy.ownership,
        };
        self.passed.follow(scope, &world);
        self.passed.hold.clone_from(&self.losses.hold);
        self.passed.hints = hints;
        self.passed.unread = catalog.map_or_else(Unread::default, |catalog| Unread {
            services: catalog.unread.len(),
            list: catalog.unlisted,
        });
    }

    /// Records the pass, whatever came of it, and publishes the state.
    fn conclude(
        &mut self,
        start: PassStart,
        progress: Progress,
        whole: bool,
        now: Now,
    ) -> Arc<PassState> {
        let took = now.steady.duration_since(start.at);
        let before = self.passed.pass;
        let number = before.map_or(0, |pass| pass.number);
        self.passed.pass = Some(PassRecord {
            number: number.saturating_add(1),
            reason: start.reason,
            ended: now.steady,
            took,
            longest: before.map_or(took, |pass| pass.longest.max(took)),
            total: before.map_or(took, |pass| pass.total.saturating_add(took)),
            steps: progress.steps,
            failed: progress.failed,
            refused: progress.refused,
            whole,
        });
        self.passed.complete |= whole;
        self.passed.read = self.trust != Trust::Unread;
        self.passed.interval = self.audits.interval();
        if whole {
            self.snat_lost = false;
            self.drift.clear();
        }
        if self.passed.drift[..] != self.drift[..] {
            self.passed.drift = self.drift.clone().into();
        }
        let unreadable = self.mirror.unreadable.iter().map(ToString::to_string);
        if !unreadable
            .clone()
            .eq(self.passed.unreadable.iter().cloned())
        {
            self.passed.unreadable = unreadable.collect();
        }
        if !self.passed.errors.iter().eq(&self.errors.0) {
            self.passed.errors = self.errors.0.iter().cloned().collect();
        }
        Arc::new(self.passed.clone())
    }
}
