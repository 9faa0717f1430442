//! The order of a plan's steps, and the parts that belong to all virtual services together: SNAT and VIPs. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipvs::ServiceId;

use super::{Observed, SnatSet, Step};
use crate::desired::Desired;

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

impl Phases {
    pub(super) fn in_order(
        self,
        desired: &Desired,
        observed: &Observed<'_>,
    ) -> (Vec<Step>, [usize; 4]) {
        let (widen, narrow) = self.snat(desired, observed);
        let needed = self.vips(desired);
        let present = &observed.addresses.present;
        let missing: Vec<IpAddr> = missing(&needed, present).collect();
        let rewritten = |vip: &IpAddr| {
            let mut services = desired.services.iter();
            services.any(|(id, service)| service.snat && id.vip() == Some(*vip))
        };
        // What was sent to a VIP before it was here is tracked without SNAT, and whoever tries again from the same port
        // would be sent on without it.
        let unanswered: Vec<Step> = missing
            .iter()
            .copied()
            .filter(rewritten)
            .map(Step::ForgetUnanswered)
            .collect();
        let mut steps = Vec::new();
        // A connection keeps the SNAT decision of its first packet: rules have to be there before the service is.
        steps.extend(widen.map(Step::SetSnat));
        steps.extend(missing.into_iter().map(Step::AddVip));
        let needs = steps.len();
        steps.extend(self.make);
        let make = steps.len();
        steps.extend(self.raise);
        let raise = steps.len();
        steps.extend(unanswered);
        steps.extend(self.lower);
        steps.extend(self.remove);
        steps.extend(self.finish);
        let gone = steps.len();
        steps.extend(narrow.map(Step::SetSnat));
        if desired.complete {
            let ours = observed.addresses.ours.intersection(present);
            let unneeded = ours.filter(|vip| needed.binary_search(vip).is_err());
            steps.extend(unneeded.map(|vip| Step::RemoveVip(*vip)));
        }
        (steps, [needs, make, raise, gone])
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
        let widen = (unknown || first != there).then_some(first);
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

/// Those of `needed` that are not `present`; both are in order.
fn missing(needed: &[IpAddr], present: &BTreeSet<IpAddr>) -> impl Iterator<Item = IpAddr> {
    let mut present = present.iter().peekable();
    needed.iter().copied().filter(move |vip| {
        while present.next_if(|there| *there < vip).is_some() {}
        present.peek() != Some(&vip)
    })
}
