//! One pass: the same at a cold start, on an event and on a timer.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipvs::ServiceId;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::act::Done;
use super::drift::drift;
use super::{Reason, Reconciler, instant_of};
use crate::desired::{Desired, FleetView, Holder, Occupied, Scope, Snapshots, Want, renew};
use crate::director::Director;
use crate::guard::{APART, Evidence, guard};
use crate::model::Moment;
use crate::model::catalog::Catalog;
use crate::model::fleet::Fleet;
use crate::plan::{Observed, Plan, plan};
use crate::source;
use crate::store::Memory;
use crate::warm::Key;

/// How long Nomad is waited for before Consul alone decides about new instances.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a held-back loss is read again: so that answers that take their time are apart as well.
const CONFIRM_EVERY: Duration = APART.saturating_add(Duration::from_secs(1));

/// How often one is read again that was confirmed, and is held on for other reasons.
const CONFIRM_AGAIN_EVERY: Duration = Duration::from_mins(1);

impl<D: Director> Reconciler<D> {
    pub(super) async fn pass(&mut self, reason: Reason) {
        let started = Instant::now();
        self.state.wake = None;
        if !self.look(reason).await {
            let failed = Done {
                failed: 1,
                ..Done::default()
            };
            self.conclude(reason, started, failed, false);
            return;
        }
        let (catalog, arrived) = {
            let published = self.inputs.catalog.borrow_and_update();
            (published.view.clone(), published.arrived)
        };
        let fleet = self
            .inputs
            .fleet
            .as_mut()
            .map(|fleet| fleet.borrow_and_update().view.clone());
        let now = source::now();
        let mut desired = self.desire(catalog.as_ref(), fleet.as_ref());
        self.hold_back(&mut desired, catalog.as_deref(), now);
        let (plan, scope) = self.decide(&desired, now);
        let done = self.act(&desired, &plan).await;
        let (steps, failed) = (done.steps, done.failed);
        if failed == 0 && !done.cut {
            self.state.scope = plan.next.clone();
        }
        let fresh = self.state.seen_arrival != arrived;
        self.state.seen_arrival = arrived;
        if let Some(arrived) = arrived.filter(|_| fresh && steps > 0 && failed == 0 && !done.cut) {
            self.acknowledged(arrived);
        }
        self.remember(desired, &plan, &scope);
        self.warm(&plan);
        self.schedule(&plan, done, now);
        let whole = failed == done.refused && !self.state.doubtful && !done.cut;
        self.publish(&scope, catalog.as_deref());
        self.conclude(reason, started, done, whole);
        let micros = started.elapsed().as_micros();
        if steps > 0 {
            info!(reason = reason.word(), steps, failed, micros, "pass");
        } else {
            debug!(reason = reason.word(), micros, "pass without a change");
        }
    }

    /// Reads the kernel where the mirror does not do; says whether there is something to plan against.
    async fn look(&mut self, reason: Reason) -> bool {
        let state = &mut self.state;
        if state.doubtful || reason == Reason::Audit {
            let begun = Instant::now();
            let read = self.director.read(&state.mirror.table).await;
            self.audits.read_took(begun.elapsed());
            match read {
                Ok(reading) => {
                    if state.read && !state.doubtful {
                        for what in drift(&state.mirror, &reading, &state.desired) {
                            warn!("{what}, by somebody else's hand; it is put right");
                            if !state.drift.contains(&what) {
                                state.drift.push(what);
                            }
                        }
                    }
                    if reading.unreadable != state.mirror.unreadable {
                        for entry in &reading.unreadable {
                            warn!(
                                "the kernel has an entry that can't be read, and it is left alone: {entry}"
                            );
                        }
                    }
                    state.mirror = reading;
                    state.scope = Scope::Whole;
                    state.read = true;
                    state.doubtful = false;
                }
                Err(error) => {
                    state
                        .errors
                        .add(format!("reading the kernel: {}", error.told()));
                    state.doubtful = true;
                    state.wake = Some(Instant::now() + state.failures.failed());
                    return false;
                }
            }
            return true;
        }
        state.mirror.counts.clear();
        let draining: BTreeSet<ServiceId> = state.drains.0.keys().map(|(id, _)| *id).collect();
        if !draining.is_empty() {
            let draining: Vec<ServiceId> = draining.into_iter().collect();
            match self.director.count(&draining).await {
                Ok(counts) => state.mirror.counts = counts,
                Err(error) => state
                    .errors
                    .add(format!("counting connections: {}", error.told())),
            }
        }
        true
    }

    /// What should be; the scope learns what of it may not be as it was.
    fn desire(
        &mut self,
        catalog: Option<&Arc<Catalog>>,
        fleet: Option<&Option<Arc<Fleet>>>,
    ) -> Desired {
        let fleet = match fleet {
            Some(Some(fleet)) => FleetView::Known(fleet),
            Some(None) if self.started.elapsed() < PATIENCE => FleetView::Awaited,
            None | Some(None) => FleetView::Absent,
        };
        self.occupy();
        let state = &mut self.state;
        let nomad = match fleet {
            FleetView::Known(fleet) => Some(&**fleet),
            FleetView::Absent | FleetView::Awaited => None,
        };
        self.passed.hints = self.inputs.board.version();
        let hints = self.inputs.board.phases(nomad);
        let snapshots = Snapshots {
            catalog,
            fleet,
            warmed: &state.warmed,
            last: &state.last,
            hints: &hints,
            occupied: &state.occupied,
        };
        let before = std::mem::take(&mut state.desired);
        let (desired, changed) = renew(before, &snapshots, &self.policy);
        state.scope = std::mem::take(&mut state.scope).and(changed);
        desired
    }

    /// Notes where no VIP may be, as far as it matters here.
    fn occupy(&mut self) {
        let owned = |ip: &IpAddr| self.policy.ownership.contains(*ip);
        let table = &self.state.mirror.table;
        // After a lost state directory a VIP is on this machine that nobody remembers to have put there.
        let is_vip = |ip: IpAddr| table.iter().any(|(id, _)| id.vip() == Some(ip));
        let occupied = self.state.mirror.addresses.occupied.iter();
        let mut now: Occupied = occupied
            .filter(|(ip, _)| owned(ip))
            .filter(|(ip, holder)| !(matches!(holder, Holder::Machine { .. }) && is_vip(**ip)))
            .map(|(ip, holder)| (*ip, holder.clone()))
            .collect();
        let sources = self.inputs.sources.borrow();
        let sources = sources.iter().filter(|(ip, _)| owned(ip));
        now.extend(sources.map(|(ip, holder)| (*ip, holder.clone())));
        if *self.state.occupied != now {
            self.state.occupied = Arc::new(now);
        }
    }

    fn hold_back(&mut self, desired: &mut Desired, catalog: Option<&Catalog>, now: Moment) {
        let state = &mut self.state;
        let (confirmations, restarts) =
            catalog.map_or((0, 0), |catalog| (catalog.confirmations, catalog.restarts));
        let evidence = Evidence {
            table: &state.mirror.table,
            last: &state.last,
            catalog,
            confirmations,
            restarts,
        };
        let losses = guard(desired, &evidence, &self.policy, &state.losses, now);
        match (&state.losses.hold, &losses.hold) {
            (None, Some(hold)) => warn!(
                lost = hold.lost,
                serving = hold.serving,
                "the catalogue suddenly lost real servers; they are held until two more reads agree"
            ),
            (Some(_), None) => info!("nothing is held back any more"),
            _ => {}
        }
        let every = match &losses.hold {
            Some(hold) if hold.is_confirmed() => CONFIRM_AGAIN_EVERY,
            Some(_) | None => CONFIRM_EVERY,
        };
        state.confirm_every = every;
        if losses.hold.is_none() {
            state.confirm_asked = None;
        } else if state.confirm_asked.is_none_or(|at| at.elapsed() >= every) {
            // A request that is already waiting serves as well.
            let _ = self.inputs.confirm.try_send(());
            state.confirm_asked = Some(Instant::now());
        }
        if losses.hold.is_some() {
            state.scope = Scope::Whole;
        }
        state.losses = losses;
    }

    /// The plan, and what it has looked at.
    fn decide(&mut self, desired: &Desired, now: Moment) -> (Plan, Scope) {
        // The whole again, if what is planned now does not come to its end.
        let scope = std::mem::take(&mut self.state.scope);
        let mirror = &self.state.mirror;
        let observed = Observed {
            table: &mirror.table,
            connections: &mirror.counts,
            addresses: &mirror.addresses,
            snat: mirror.snat.as_ref(),
            sysctls: &mirror.sysctls,
        };
        let plan = plan(
            desired,
            &observed,
            &self.state.drains,
            &self.policy.ownership,
            &scope,
            now,
        );
        (plan, scope)
    }

    fn remember(&mut self, desired: Desired, plan: &Plan, scope: &Scope) {
        let state = &mut self.state;
        state.drains = plan.drains.clone();
        if desired.complete {
            state.last.renew(scope, &desired, &state.mirror.table);
        }
        self.store.remember(Memory {
            services: state.last.clone(),
            drains: state.drains.clone(),
            addresses: state.mirror.addresses.ours.clone(),
            addresses_lost: false,
        });
        state.desired = desired;
    }

    /// Tries what wants a connection first. Who serves, or is not wanted any more, has to prove itself anew next time.
    fn warm(&mut self, plan: &Plan) {
        let state = &mut self.state;
        state.warmed.retain(|(id, address)| {
            let serves = state
                .mirror
                .table
                .get(id)
                .and_then(|service| service.real(*address));
            let wanted = state.desired.services.get(id).and_then(|service| {
                let at = service
                    .endpoints
                    .binary_search_by_key(address, |endpoint| endpoint.address)
                    .ok()?;
                service.endpoints.get(at)
            });
            let wanted = wanted
                .is_some_and(|endpoint| matches!(endpoint.want, Want::Serve(_) | Want::Warm(_)));
            wanted && !serves.is_some_and(|real| real.weight.serves())
        });
        let probes: BTreeSet<Key> = plan.probes.iter().copied().collect();
        self.prober.want(&probes);
    }

    fn schedule(&mut self, plan: &Plan, done: Done, now: Moment) {
        let mut wakes: Vec<Instant> = plan
            .wake_at
            .map(|at| instant_of(at, now))
            .into_iter()
            .collect();
        let state = &mut self.state;
        wakes.extend(done.cut.then(Instant::now));
        wakes.extend(state.refusals.next(Instant::now()));
        if done.failed > done.refused || state.doubtful {
            wakes.push(Instant::now() + state.failures.failed());
        } else {
            state.failures.reset();
        }
        wakes.extend(self.inputs.board.next_end());
        wakes.extend(state.confirm_asked.map(|asked| asked + state.confirm_every));
        let fleet_awaited = self
            .inputs
            .fleet
            .as_ref()
            .is_some_and(|fleet| fleet.borrow().view.is_none());
        if fleet_awaited && self.started.elapsed() < PATIENCE {
            wakes.push(self.started + PATIENCE);
        }
        state.wake = wakes.into_iter().min();
    }
}
