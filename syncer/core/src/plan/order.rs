//! The order of a plan's steps, and the parts that belong to all virtual services together: SNAT and VIPs. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipvs::ServiceId;

use super::{AddressKeeper, Addresses, Observed, SnatSet, Step, Sysctl};
use crate::desired::{Desired, Scope};

/// Steps by the phase that they belong to.
#[derive(Debug, Default)]
pub(super) struct Phases {
    /// Virtual services that appear or change.
    pub(super) make: Vec<Step>,
    /// New real servers and higher weights.
    pub(super) raise: Vec<Step>,
    /// Lower weights.
    pub(super) lower: Vec<Step>,
    /// Real servers that go.
    pub(super) remove: Vec<Step>,
    /// Virtual services that go.
    pub(super) finish: Vec<Step>,
    /// Virtual services that should not be and still are after this plan.
    pub(super) lingering: BTreeSet<ServiceId>,
}

/// What is to be done around the virtual services.
#[derive(Debug, Default)]
struct Surroundings {
    widen: Option<SnatSet>,
    sysctls: Vec<Sysctl>,
    /// In order.
    missing: Vec<IpAddr>,
    narrow: Option<SnatSet>,
    unneeded: Vec<IpAddr>,
}

impl Surroundings {
    /// What was sent to a VIP before it was here, or while its rules were not, is tracked without SNAT: whoever tries again
    /// from the same port, or still tries, would be sent on without it.
    fn unanswered(&self, desired: &Desired, observed: &Observed<'_>) -> Vec<Step> {
        let is_set = |id: &ServiceId| observed.snat.is_some_and(|there| there.contains(id));
        let comes_back = |id: &ServiceId| {
            let widened = self.widen.as_ref().is_some_and(|set| set.contains(id));
            observed.snat_lost && widened && !is_set(id)
        };
        let rewritten = desired.services.iter().filter(|(_, service)| service.snat);
        let vips = rewritten.filter_map(|(id, _)| {
            let vip = id.vip()?;
            let missing = self.missing.binary_search(&vip).is_ok();
            (missing || comes_back(id)).then_some(vip)
        });
        let vips: BTreeSet<IpAddr> = vips.collect();
        vips.into_iter().map(Step::ForgetUnanswered).collect()
    }
}

impl Phases {
    pub(super) fn in_order(
        self,
        desired: &Desired,
        observed: &Observed<'_>,
        scope: &Scope,
    ) -> (Vec<Step>, [usize; 5]) {
        let around = match scope {
            Scope::Whole => self.surroundings(desired, observed),
            // As they were: no virtual service came, went or wants anything else of them.
            Scope::Only(_) => Surroundings::default(),
        };
        let unanswered = around.unanswered(desired, observed);
        let comes: BTreeSet<ServiceId> =
            self.make.iter().chain(&self.raise).filter_map(of).collect();
        // Nothing comes in their place: they wait for nobody, however much comes elsewhere.
        let is_free = |step: &Step| of(step).is_none_or(|id| !comes.contains(&id));
        let goes = self.lower.into_iter().chain(self.remove).chain(self.finish);
        let (free, bound): (Vec<Step>, Vec<Step>) = goes.partition(is_free);
        let mut steps = free;
        let free = steps.len();
        steps.extend(around.sysctls.into_iter().map(Step::SetSysctl));
        // A connection keeps the SNAT decision of its first packet: rules have to be there before the service is.
        steps.extend(around.widen.map(Step::SetSnat));
        steps.extend(around.missing.into_iter().map(Step::AddVip));
        let needs = steps.len();
        steps.extend(self.make);
        let make = steps.len();
        steps.extend(self.raise);
        let raise = steps.len();
        steps.extend(unanswered);
        steps.extend(bound);
        let gone = steps.len();
        steps.extend(around.narrow.map(Step::SetSnat));
        steps.extend(around.unneeded.into_iter().map(Step::RemoveVip));
        (steps, [free, needs, make, raise, gone])
    }

    fn surroundings(&self, desired: &Desired, observed: &Observed<'_>) -> Surroundings {
        let (widen, narrow) = self.snat(desired, observed);
        let Addresses {
            present,
            ours,
            keeper,
            ..
        } = observed.addresses;
        let needed = match keeper {
            AddressKeeper::Syncer => self.vips(desired),
            AddressKeeper::Others => Vec::new(),
        };
        let is_unneeded = |vip: &&IpAddr| {
            *keeper == AddressKeeper::Syncer
                && desired.complete
                && needed.binary_search(vip).is_err()
        };
        let sysctls = observed.sysctls.keys();
        let sysctls = sysctls.filter(|sysctl| sysctl.is_needed(desired));
        Surroundings {
            widen,
            sysctls: sysctls.cloned().collect(),
            missing: missing(&needed, present).collect(),
            narrow,
            unneeded: ours
                .intersection(present)
                .filter(is_unneeded)
                .copied()
                .collect(),
        }
    }

    /// What to set before anything else, and what to set after everything else.
    fn snat(
        &self,
        desired: &Desired,
        observed: &Observed<'_>,
    ) -> (Option<SnatSet>, Option<SnatSet>) {
        let wanted = || {
            desired
                .services
                .iter()
                .filter(|(_, service)| service.snat)
                .map(|(id, _)| *id)
        };
        if let Some(there) = observed.snat
            && there.iter().copied().eq(wanted())
        {
            return (None, None);
        }
        let there = observed.snat.cloned().unwrap_or_default();
        let mut last: SnatSet = wanted().collect();
        last.extend(there.iter().filter(|id| self.lingering.contains(id)));
        if !desired.complete {
            last.extend(there.iter());
        }
        let first: SnatSet = last.union(&there).copied().collect();
        let unknown = observed.snat.is_none();
        let narrow = (last != first).then_some(last);
        // To set none takes away what an earlier process may have left: not before the sources have said so.
        let sets = unknown && (desired.complete || !first.is_empty());
        let widen = (sets || first != there).then_some(first);
        (widen, narrow)
    }

    /// In order, none twice.
    fn vips(&self, desired: &Desired) -> Vec<IpAddr> {
        let ids = desired.services.keys().chain(&self.lingering);
        let mut vips: Vec<IpAddr> = ids.filter_map(ServiceId::vip).collect();
        vips.sort_unstable();
        vips.dedup();
        vips
    }
}

/// The virtual service that a step is about.
fn of(step: &Step) -> Option<ServiceId> {
    match step {
        Step::Ipvs(command) => Some(*command.service()),
        Step::ForgetFlows(id, _) => Some(*id),
        Step::SetSysctl(_)
        | Step::SetSnat(_)
        | Step::AddVip(_)
        | Step::RemoveVip(_)
        | Step::ForgetUnanswered(_) => None,
    }
}

/// Those of `needed` that are not `present`; both are in order.
fn missing(needed: &[IpAddr], present: &BTreeSet<IpAddr>) -> impl Iterator<Item = IpAddr> {
    let mut present = present.iter().peekable();
    needed.iter().copied().filter(move |vip| {
        while present.next_if(|there| *there < vip).is_some() {}
        present.peek() != Some(&vip)
    })
}
