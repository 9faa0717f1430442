//! Settings of the kernel that virtual services need.

use std::fmt;

use ::ipvs::Table;

use super::{Act, Around, Step};
use crate::plan::gate::Gate;
use crate::reading::{Need, Reading, Sysctl};

pub(super) struct Set<'a>(pub(super) &'a Sysctl);

impl fmt::Display for Set<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "set {}", self.0)
    }
}

impl Act for Set<'_> {
    fn reflect(&self, mirror: &mut Reading) -> bool {
        mirror.sysctls.remove(self.0);
        true
    }

    fn fail(&self, gate: &mut Gate, _: &Table) {
        // Rules would be there and never see a packet.
        if self.0.need == Need::Snat {
            gate.nothing_is_rewritten_anew();
        }
    }
}

pub(super) const AROUND: Around = Around {
    first: |whole| {
        let wrong = whole.observed.sysctls.keys();
        let (desired, rules) = (whole.desired, whole.observed.snat);
        let needed = wrong.filter(|sysctl| sysctl.is_needed(desired, rules));
        needed.cloned().map(Step::SetSysctl).collect()
    },
    ..Around::NOTHING
};
