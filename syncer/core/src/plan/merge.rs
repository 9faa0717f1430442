//! One walk over a virtual service as it should be and as it is, both in order of address. Pure.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use ipvs::{
    Command, Forwarding, Protocol, RealServer, ServiceId, Thresholds, VirtualService, Weight,
};

use super::drain::{COUNT_INTERVAL, Drains, Next};
use super::order::Phases;
use super::{Observed, Plan, Step, edit};
use crate::desired::{Desired, DesiredService, Endpoint, Scope, Want};
use crate::model::Moment;

/// How long a drain may take where no policy is known: the virtual service in our ranges is somebody else's.
const FORSAKEN_DRAIN: Duration = Duration::from_mins(1);

/// The walk's state: what it has decided so far.
pub(super) struct Merge<'a> {
    desired: &'a Desired,
    pub(super) observed: &'a Observed<'a>,
    drains: &'a Drains,
    now: Moment,
    pub(super) phases: Phases,
    kept: Drains,
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
        let next = if settled && steps.iter().all(Step::is_of_one_real) {
            Scope::Only(self.open)
        } else {
            Scope::Whole
        };
        Plan {
            steps,
            stages,
            drains: self.kept,
            wake_at: self.wake_at,
            probes: self.probes,
            offers_due: self.offers_due,
            next,
        }
    }

    fn newcomer(&mut self, id: &ServiceId, wanted: &DesiredService, endpoint: &Endpoint) {
        let lost = self.lost_method(id, wanted, endpoint);
        match (endpoint.want, lost) {
            (Want::Serve(weight), _) | (Want::Warm(weight), Some(_)) => {
                self.open.insert(*id);
                let real = RealServer {
                    address: endpoint.address,
                    weight,
                    forwarding: lost.unwrap_or(wanted.forwarding),
                    thresholds: Thresholds::default(),
                };
                self.phases
                    .raise
                    .push(Step::Ipvs(Command::AddReal(*id, real)));
            }
            (Want::Warm(_), None) => self.try_out(id, wanted.forwarding, endpoint),
            (Want::Quiesce | Want::Drain | Want::Remove | Want::Keep, _) => {}
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
        let (weight, forwarding) = match endpoint.want {
            Want::Serve(weight) => (weight, method),
            Want::Warm(weight) if real.weight.serves() => (weight, method),
            Want::Warm(_) => {
                if self.go_over(id, wanted, real) {
                    self.try_out(id, wanted.forwarding, endpoint);
                    return;
                }
                self.try_out(id, method, endpoint);
                (real.weight, method)
            }
            Want::Quiesce | Want::Drain | Want::Remove | Want::Keep => {
                self.leave(id, Some(wanted), real, endpoint.want);
                return;
            }
        };
        let target = RealServer {
            weight,
            forwarding,
            ..*real
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

    /// Plans for a real server that should not serve; says whether it is removed now.
    fn leave(
        &mut self,
        id: &ServiceId,
        wanted: Option<&DesiredService>,
        real: &RealServer,
        want: Want,
    ) -> bool {
        self.open.insert(*id);
        let key = (*id, real.address);
        match want {
            // Weight 0 keeps flows, and nothing tells a UDP flow's end: they would go on while their client sends.
            Want::Quiesce if id.protocol() == Some(Protocol::Udp) => self.remove(id, real),
            Want::Quiesce => {
                if real.weight.serves() {
                    self.phases
                        .lower
                        .push(edit(id, real.with_weight(Weight::ZERO)));
                } else if let Some(wanted) = wanted {
                    self.go_over(id, wanted, real);
                }
                false
            }
            Want::Remove if !self.shares_node(id, real) => self.remove(id, real),
            Want::Drain | Want::Remove => {
                if want == Want::Drain && real.weight.serves() && self.bridges(id, wanted, real) {
                    return false;
                }
                // For the same reason.
                if id.protocol() == Some(Protocol::Udp) {
                    return self.remove(id, real);
                }
                let limit = match wanted {
                    Some(wanted) => wanted.drain,
                    None => self
                        .desired
                        .leaving
                        .get(id)
                        .copied()
                        .unwrap_or(FORSAKEN_DRAIN),
                };
                let connections = self.observed.connections.get(&key);
                let is_idle = connections.is_some_and(|connections| match want {
                    // Nobody is there who could end a connection in order.
                    Want::Remove => connections.active == 0,
                    _ => connections.idle(),
                });
                let drain =
                    match self
                        .drains
                        .next(&key, real.weight.serves(), is_idle, limit, self.now)
                    {
                        Next::Remove => return self.remove(id, real),
                        Next::Quiesce(drain) => {
                            self.phases
                                .lower
                                .push(edit(id, real.with_weight(Weight::ZERO)));
                            drain
                        }
                        Next::Wait(drain) => drain,
                    };
                self.kept.0.insert(key, drain);
                self.wake(drain.deadline.min(self.now.after(COUNT_INTERVAL)));
                false
            }
            Want::Keep | Want::Serve(_) | Want::Warm(_) => {
                if let Some(drain) = self.drains.0.get(&key) {
                    self.kept.0.insert(key, *drain);
                }
                false
            }
        }
    }

    /// Whether another real server of its node serves. With direct routing the node shares connections out, and which of the
    /// two a connection counts for is a guess: to remove one at once would end connections of the other.
    fn shares_node(&self, id: &ServiceId, real: &RealServer) -> bool {
        let current = self.observed.table.get(id);
        let mut reals = current
            .map(VirtualService::reals)
            .unwrap_or_default()
            .iter();
        let same_node = |other: &RealServer| {
            other.address.ip() == real.address.ip() && other.address != real.address
        };
        real.forwarding == Forwarding::DirectRouting
            && id.protocol() != Some(Protocol::Udp)
            && reals.any(|other| same_node(other) && other.weight.serves())
    }

    /// Whether this real server has to serve on because no other does yet.
    fn bridges(&self, id: &ServiceId, wanted: Option<&DesiredService>, real: &RealServer) -> bool {
        let Some(wanted) = wanted else { return false };
        let current = self.observed.table.get(id);
        let serves = |endpoint: &Endpoint| match endpoint.want {
            Want::Serve(weight) => weight.serves(),
            Want::Warm(_) | Want::Keep => current
                .and_then(|current| current.real(endpoint.address))
                .is_some_and(|real| real.weight.serves()),
            Want::Quiesce | Want::Drain | Want::Remove => false,
        };
        self.desired.awaits_successor(real.address) && !wanted.endpoints.iter().any(serves)
    }

    fn remove(&mut self, id: &ServiceId, real: &RealServer) -> bool {
        self.phases
            .remove
            .push(Step::Ipvs(Command::RemoveReal(*id, real.address)));
        if id.protocol() == Some(Protocol::Udp) {
            self.phases
                .remove
                .push(Step::ForgetFlows(*id, real.address));
        }
        true
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

    fn wake(&mut self, at: Moment) {
        self.wake_at = Some(self.wake_at.map_or(at, |current| current.min(at)));
    }
}
