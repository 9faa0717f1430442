//! The order of a plan's steps. Pure.

use std::collections::BTreeSet;

use ipvs::ServiceId;

use super::step::{Around, Whole};
use super::{Observed, Step};
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

impl Phases {
    /// Gives all steps in order, and where each stage ends but the last.
    pub(super) fn in_order(
        self,
        desired: &Desired,
        observed: &Observed<'_>,
        scope: &Scope,
    ) -> (Vec<Step>, [usize; 5]) {
        let whole = Whole {
            desired,
            observed,
            lingering: &self.lingering,
        };
        let around = match scope {
            Scope::Whole => &Around::ALL[..],
            // As they were: no virtual service came, went or wants anything else of them.
            Scope::Only(_) => &[],
        };
        let first: Vec<Step> = around.iter().flat_map(|of| (of.first)(&whole)).collect();
        let between: Vec<Step> = around.iter().flat_map(|of| (of.between)(&whole)).collect();
        let last: Vec<Step> = around.iter().flat_map(|of| (of.last)(&whole)).collect();
        let comes = self.make.iter().chain(&self.raise);
        let comes: BTreeSet<ServiceId> = comes.filter_map(Step::service).collect();
        // Nothing comes in their place: they wait for nobody, however much comes elsewhere.
        let is_free = |step: &Step| step.service().is_none_or(|id| !comes.contains(&id));
        let goes = self.lower.into_iter().chain(self.remove).chain(self.finish);
        let (free, bound): (Vec<Step>, Vec<Step>) = goes.partition(is_free);
        let mut steps = free;
        let free = steps.len();
        steps.extend(first);
        let needs = steps.len();
        steps.extend(self.make);
        let make = steps.len();
        steps.extend(self.raise);
        let raise = steps.len();
        steps.extend(between);
        steps.extend(bound);
        let gone = steps.len();
        steps.extend(last);
        (steps, [free, needs, make, raise, gone])
    }
}
