//! Rewriting of clients' addresses, by one set of rules for all virtual services.

use std::fmt;
use std::sync::Arc;

use ::ipvs::{Forwarding, ServiceId, Table, VirtualService};

use super::{Act, Around, Step, Whole};
use crate::desired::{Desired, DesiredService};
use crate::plan::Observed;
use crate::plan::gate::Gate;
use crate::reading::{Reading, SnatSet};

/// Rules for exactly these.
pub(super) struct Set<'a>(pub(super) &'a SnatSet);

impl fmt::Display for Set<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "rewrite clients' addresses for {} services",
            self.0.len()
        )
    }
}

impl Act for Set<'_> {
    fn reflect(&self, mirror: &mut Reading) -> bool {
        mirror.snat = Some(self.0.clone());
        true
    }

    fn doubt(&self, mirror: &mut Reading) -> bool {
        mirror.snat = None;
        false
    }

    fn fail(&self, gate: &mut Gate, _: &Table) {
        gate.nothing_is_rewritten_anew();
    }

    /// Narrower than what is there: not for what could not be removed.
    fn is_let(&self, gate: &mut Gate, _: &Desired, _: &Table) -> bool {
        gate.lets_go_of_rules(self.0)
    }
}

pub(super) const AROUND: Around = Around {
    first: |whole| {
        Change::of(whole)
            .widen
            .map(Step::SetSnat)
            .into_iter()
            .collect()
    },
    last: |whole| {
        Change::of(whole)
            .narrow
            .map(Step::SetSnat)
            .into_iter()
            .collect()
    },
    ..Around::NOTHING
};

/// What to set before anything else, and what to set after everything else.
#[derive(Debug, Default)]
pub(super) struct Change {
    pub(super) widen: Option<SnatSet>,
    narrow: Option<SnatSet>,
}

impl Change {
    pub(super) fn of(whole: &Whole<'_>) -> Self {
        let Whole {
            desired,
            observed,
            lingering,
        } = whole;
        let is_rewritten = |(id, service): &(&ServiceId, &Arc<DesiredService>)| {
            service.snat || still_needs(id, service, observed)
        };
        let rewritten = || {
            let services = desired.services.iter();
            services.filter(is_rewritten).map(|(id, _)| *id)
        };
        if let Some(current) = observed.snat
            && current.iter().copied().eq(rewritten())
        {
            return Self::default();
        }
        let current = observed.snat.cloned().unwrap_or_default();
        let mut last: SnatSet = rewritten().collect();
        last.extend(current.iter().filter(|id| lingering.contains(id)));
        if !desired.complete {
            last.extend(current.iter());
        }
        let first: SnatSet = last.union(&current).copied().collect();
        let unknown = observed.snat.is_none();
        let narrow = (last != first).then_some(last);
        // To set none takes away what an earlier process may have left: not before the sources have said so.
        let sets = unknown && (desired.complete || !first.is_empty());
        let widen = (sets || first != current).then_some(first);
        Self { widen, narrow }
    }
}

/// Whether rules have to stay for a service that needs none any more: real servers that go by masquerade do so for as long as they
/// serve. Where it is not known whether there are rules, there may have been.
fn still_needs(id: &ServiceId, wanted: &DesiredService, observed: &Observed<'_>) -> bool {
    let has_rules = || observed.snat.is_none_or(|rules| rules.contains(id));
    let goes_by_masquerade = || {
        let current = observed.table.get(id);
        let reals = current.map(VirtualService::reals).unwrap_or_default();
        let mut methods = reals.iter().map(|real| real.forwarding);
        methods.any(|method| method == Forwarding::Masquerade)
    };
    wanted.forwarding != Forwarding::Masquerade && has_rules() && goes_by_masquerade()
}
