//! One walk over a virtual service as it should be and as it is, both in order of address. Pure.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::net::SocketAddr;

use ipvs::{Command, Forwarding, RealServer, ServiceId, Thresholds, VirtualService, Weight};

use super::drain::Drains;
use super::order::Phases;
use super::ramp::Ramps;
use super::{Observed, Plan, Step, edit};
use crate::desired::{Desired, DesiredService, Endpoint, Scope, Want};
use crate::model::Moment;

/// The walk's state: what it has decided so far.
pub(super) struct Merge<'a> {
    pub(super) desired: &'a Desired,
    pub(super) observed: &'a Observed<'a>,
    pub(super) drains: &'a Drains,
    pub(super) now: Moment,
    pub(super) phases: Phases,
    pub(super) kept: Drains,
    pub(super) ramps: Ramps,
    wake_at: Option<Moment>,
    probes: Vec<(ServiceId, SocketAddr)>,
    offers_due: Vec<(ServiceId, SocketAddr)>,
    /// Virtual services where something is to be done, or where the walk looked at more than the service itself.
    pub(super) open: BTreeSet<ServiceId>,
}

impl<'a> Merge<'a> {
    pub(super) fn new(
        desired: &'a Desired,
        observed: &'a Observed<'a>,
        drains: &'a Drains,
        now: Moment,
    ) -> Self {
        let (kept, phases) = (Drains::default(), Phases::default());
        Self {
            desired,
            observed,
            drains,
            now,
            phases,
            kept,
            ramps: Ramps::new(),
            wake_at: None,
            probes: Vec::new(),
            offers_due: Vec::new(),
            open: BTreeSet::new(),
        }
    }

    /// Walks over a virtual service that should be.
    pub(super) fn service(
        &mut self,
        id: &ServiceId,
        wanted: &DesiredService,
        current: Option<&VirtualService>,
    ) {
        if !(self.desired.complete && wanted.complete)
            && let Some(current) = current
            && !current.reals().is_empty()
        {
            // The disk may be older than the kernel: what was quiesced since must not serve again.
            return self.leave_as_it_is(id, current);
        }
        match current {
            None => self
                .phases
                .make
                .push(Step::Ipvs(Command::AddService(*id, wanted.settings))),
            Some(current) if current.settings != wanted.settings => {
                self.phases
                    .make
                    .push(Step::Ipvs(Command::EditService(*id, wanted.settings)));
            }
            Some(_) => {}
        }
        let mut reals = current
            .map(VirtualService::reals)
            .unwrap_or_default()
            .iter()
            .peekable();
        let mut endpoints = wanted.endpoints.iter().peekable();
        loop {
            let order = match (endpoints.peek(), reals.peek()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(endpoint), Some(real)) => endpoint.address.cmp(&real.address),
            };
            let endpoint = if order.is_le() {
                endpoints.next()
            } else {
                None
            };
            let real = if order.is_ge() { reals.next() } else { None };
            match (endpoint, real) {
                (Some(endpoint), None) => self.newcomer(id, wanted, endpoint),
                (Some(endpoint), Some(real)) => self.known(id, wanted, endpoint, real),
                (None, Some(real)) => {
                    let want = self.desired.fate(real.address).0;
                    self.leave(id, Some(wanted), real, want);
                }
                (None, None) => break,
            }
        }
    }

    fn leave_as_it_is(&mut self, id: &ServiceId, current: &VirtualService) {
        for real in current.reals() {
            self.leave(id, None, real, Want::Keep);
        }
    }

    /// Walks over a virtual service of ours that should not be: it goes once its real servers are gone.
    pub(super) fn forsaken(&mut self, id: &ServiceId, current: &VirtualService) {
        let mut removed = 0;
        for real in current.reals() {
            let want = if self.desired.complete {
                self.desired.fate(real.address).0
            } else {
                Want::Keep
            };
            removed += usize::from(self.leave(id, None, real, want));
        }
        if self.desired.complete && removed == current.reals().len() {
            self.phases
                .finish
                .push(Step::Ipvs(Command::RemoveService(*id)));
        } else {
            self.phases.lingering.insert(*id);
        }
    }

    pub(super) fn finish(self, scope: &Scope) -> Plan {
        let settled = self.phases.lingering.is_empty();
        let (steps, stages) = self.phases.in_order(self.desired, self.observed, scope);
        let next = if settled
            && steps.iter().all(Step::is_of_one_real)
            && !ends_rules(&steps, self.desired, self.observed)
        {
            Scope::Only(self.open)
        } else {
            Scope::Whole
        };
        Plan {
            steps,
            stages,
            drains: self.kept,
            ramps: self.ramps,
            wake_at: self.wake_at,
            probes: self.probes,
            offers_due: self.offers_due,
            next,
        }
    }

    fn newcomer(&mut self, id: &ServiceId, wanted: &DesiredService, endpoint: &Endpoint) {
        let lost = self.lost_method(id, wanted, endpoint);
        match (self.resolved(id, wanted, endpoint), lost) {
            (Want::Serve(weight), _) | (Want::Warm(weight), Some(_)) => {
                self.open.insert(*id);
                let real = RealServer {
                    address: endpoint.address,
                    weight: self.ramped(id, wanted, endpoint.address, Weight::ZERO, weight),
                    forwarding: lost.unwrap_or(wanted.forwarding),
                    thresholds: thresholds(wanted, endpoint),
                };
                self.phases
                    .raise
                    .push(Step::Ipvs(Command::AddReal(*id, real)));
            }
            (Want::Warm(_), None) => self.try_out(id, wanted.forwarding, endpoint),
            (
                Want::Doubt(_)
                | Want::Quiesce
                | Want::Drain
                | Want::Remove
                | Want::Keep
                | Want::Substitute,
                _,
            ) => {}
        }
    }

    fn known(
        &mut self,
        id: &ServiceId,
        wanted: &DesiredService,
        endpoint: &Endpoint,
        real: &RealServer,
    ) {
        let method = self.method(id, wanted, real);
        let want = self.resolved(id, wanted, endpoint);
        let (weight, forwarding) = match want {
            Want::Serve(weight) => (weight, method),
            Want::Warm(weight) | Want::Doubt(weight) if real.weight.serves() => (weight, method),
            Want::Warm(_) | Want::Doubt(_) => {
                if self.go_over(id, wanted, real) {
                    self.try_out(id, wanted.forwarding, endpoint);
                    return;
                }
                self.try_out(id, method, endpoint);
                (real.weight, method)
            }
            Want::Quiesce | Want::Drain | Want::Remove | Want::Keep | Want::Substitute => {
                self.leave(id, Some(wanted), real, want);
                return;
            }
        };
        let weight = self.ramped(id, wanted, real.address, real.weight, weight);
        let target = RealServer {
            address: real.address,
            weight,
            forwarding,
            thresholds: thresholds(wanted, endpoint),
        };
        if target != *real {
            self.open.insert(*id);
            let raised = weight >= real.weight;
            let phase = if raised {
                &mut self.phases.raise
            } else {
                &mut self.phases.lower
            };
            phase.push(edit(id, target));
        }
    }

    fn try_out(&mut self, id: &ServiceId, method: Forwarding, endpoint: &Endpoint) {
        self.open.insert(*id);
        let trials = if method.keeps_vip() {
            &mut self.offers_due
        } else {
            &mut self.probes
        };
        trials.push((*id, endpoint.address));
    }

    pub(super) fn wake(&mut self, at: Moment) {
        self.wake_at = Some(self.wake_at.map_or(at, |current| current.min(at)));
    }
}

/// A sorry server stands for all instances: what one of them takes is no measure for it.
fn thresholds(wanted: &DesiredService, endpoint: &Endpoint) -> Thresholds {
    match endpoint.want {
        Want::Substitute => Thresholds::default(),
        _ => wanted.safeguards.thresholds,
    }
}

/// Whether a virtual service has rules that it does not ask for, and one of these steps may end what still needs them.
fn ends_rules(steps: &[Step], desired: &Desired, observed: &Observed<'_>) -> bool {
    let asks = |id: &ServiceId| desired.services.get(id).is_some_and(|service| service.snat);
    let mut touched = steps.iter().filter_map(Step::service);
    observed
        .snat
        .is_some_and(|rules| touched.any(|id| rules.contains(&id) && !asks(&id)))
}
