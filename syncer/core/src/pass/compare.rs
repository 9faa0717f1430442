//! For simulations: each part that a pass looks at is compared with the whole, which it stands for.

use super::Director;
use super::Now;
use crate::desired::{Desired, Scope, Snapshots, desired};
use crate::plan::{Observed, Plan, plan};

impl Director {
    /// From now on each pass makes the whole beside its part.
    #[must_use]
    pub fn comparing_parts_with_the_whole(mut self) -> Self {
        self.compares = true;
        self
    }

    /// # Panics
    /// Where what was renewed is not what a look at everything gives.
    pub(super) fn compare_desired(&self, renewed: &Desired, snapshots: &Snapshots<'_>) {
        if self.compares {
            let whole = desired(snapshots, &self.policy);
            assert_eq!(renewed.services, whole.services, "{:?}", self.scope);
        }
    }

    /// # Panics
    /// Where the plan for `scope` is not the plan for everything.
    pub(super) fn compare_plan(
        &self,
        part: &Plan,
        desired: &Desired,
        observed: &Observed<'_>,
        scope: &Scope,
        now: Now,
    ) {
        if self.compares {
            let (drains, ownership) = (&self.drains, &self.policy.ownership);
            let whole = plan(
                desired,
                observed,
                drains,
                ownership,
                &Scope::Whole,
                now.wall,
            );
            let same = |plan: &Plan| {
                let trials = (plan.probes.clone(), plan.offers_due.clone());
                (plan.drains.clone(), plan.wake_at, trials)
            };
            assert_eq!(part.steps, whole.steps, "{scope:?}");
            assert_eq!(same(part), same(&whole), "{scope:?}");
        }
    }
}
