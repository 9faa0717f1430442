//! The second part of a pass: what should be, what of a loss is held back, and the plan.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::act::{Confirmation, Decision, Pass};
use super::look::PassStart;
use super::view::View;
use super::{Director, Notice, Now};
use crate::desired::{Desired, Holder, Holders, Scope, Snapshots, renew};
use crate::guard::{CONFIRMATION_SPACING, Evidence, guard};
use crate::model::catalog::Catalog;
use crate::plan::{Observed, Plan, plan};

/// How often a held-back loss is read again. It leaves a second for answers that take their time.
const CONFIRMATION_INTERVAL: Duration = CONFIRMATION_SPACING.saturating_add(Duration::from_secs(1));

/// How often a loss is read again that is confirmed, and that is held on for other reasons.
const RECONFIRMATION_INTERVAL: Duration = Duration::from_mins(1);

impl Director {
    /// Makes a plan from the data plane and from what the sources say.
    pub fn decide(&mut self, start: PassStart, view: View, now: Now) -> Pass {
        let mut desired = self.desire(&view, now);
        let confirmation = self.hold_back(&mut desired, view.catalog.as_deref(), now);
        let (plan, scope) = self.plan(&desired, now);
        let decision = Decision {
            view,
            desired,
            plan,
            scope,
            confirmation,
        };
        Pass::new(start, decision, self.mirror.snat.as_ref(), now)
    }

    /// Makes the desired state; the scope learns which virtual services may have changed.
    fn desire(&mut self, view: &View, now: Now) -> Desired {
        self.occupy(&view.sources);
        let since_start = now.steady.duration_since(self.started);
        let snapshots = Snapshots {
            catalog: view.catalog.as_ref(),
            fleet: view.nomad.fleet(since_start),
            warmed: &self.warmed,
            refusals: &view.refusals,
            last: &self.last,
            hints: &view.hinted,
            occupied: &self.occupied,
        };
        let before = std::mem::take(&mut self.desired);
        let (desired, changed) = renew(before, &snapshots, &self.policy);
        #[cfg(feature = "testing")]
        self.compare_desired(&desired, &snapshots);
        self.scope = std::mem::take(&mut self.scope).and(changed);
        desired
    }

    /// Notes where no VIP may be, as far as it matters here.
    fn occupy(&mut self, sources: &Holders) {
        let owned = |ip: &IpAddr| self.policy.ownership.contains(*ip);
        let table = &self.mirror.table;
        // After a lost state directory a VIP is on this machine that nobody remembers to have put there.
        let is_vip = |ip: IpAddr| table.iter().any(|(id, _)| id.vip() == Some(ip));
        let occupied = self.mirror.addresses.occupied.iter();
        let mut now: Holders = occupied
            .filter(|(ip, _)| owned(ip))
            .filter(|(ip, holder)| !(matches!(holder, Holder::Machine { .. }) && is_vip(**ip)))
            .map(|(ip, holder)| (*ip, holder.clone()))
            .collect();
        let sources = sources.iter().filter(|(ip, _)| owned(ip));
        now.extend(sources.map(|(ip, holder)| (*ip, holder.clone())));
        if *self.occupied != now {
            self.occupied = Arc::new(now);
        }
    }

    /// Holds a sudden loss back; says whether a second read of the catalogue is due for it.
    fn hold_back(
        &mut self,
        desired: &mut Desired,
        catalog: Option<&Catalog>,
        now: Now,
    ) -> Confirmation {
        let (confirmations, restarts) =
            catalog.map_or((0, 0), |catalog| (catalog.confirmations, catalog.restarts));
        let evidence = Evidence {
            table: &self.mirror.table,
            last: &self.last,
            catalog,
            confirmations,
            restarts,
        };
        let losses = guard(desired, &evidence, &self.policy, &self.losses, now.wall);
        match (&self.losses.hold, &losses.hold) {
            (None, Some(hold)) => self.notices.push(Notice::Held {
                lost: hold.lost,
                serving: hold.serving,
            }),
            (Some(_), None) => self.notices.push(Notice::Released),
            (None, None) | (Some(_), Some(_)) => {}
        }
        self.confirmation_interval = match &losses.hold {
            Some(hold) if hold.is_confirmed() => RECONFIRMATION_INTERVAL,
            Some(_) | None => CONFIRMATION_INTERVAL,
        };
        let mut confirmation = Confirmation::NotDue;
        if losses.hold.is_none() {
            self.confirmation_request = None;
        } else {
            let is_due = |at: Instant| now.steady.duration_since(at) >= self.confirmation_interval;
            if self.confirmation_request.is_none_or(is_due) {
                confirmation = Confirmation::Due;
                self.confirmation_request = Some(now.steady);
            }
            self.scope = Scope::Whole;
        }
        self.losses = losses;
        confirmation
    }

    /// Makes the plan; gives also which virtual services it has looked at.
    fn plan(&mut self, desired: &Desired, now: Now) -> (Plan, Scope) {
        // The whole again, if what is planned now does not come to its end.
        let scope = std::mem::take(&mut self.scope);
        let mirror = &self.mirror;
        let observed = Observed {
            table: &mirror.table,
            applied: &self.last,
            connections: &mirror.counts,
            ramps: &self.ramps,
            addresses: &mirror.addresses,
            snat: mirror.snat.as_ref(),
            snat_lost: self.snat_lost,
            sysctls: &mirror.sysctls,
        };
        let (drains, ownership) = (&self.drains, &self.policy.ownership);
        let plan = plan(desired, &observed, drains, ownership, &scope, now.wall);
        #[cfg(feature = "testing")]
        self.compare_plan(&plan, desired, &observed, &scope, now);
        (plan, scope)
    }
}
