//! What the sources say as a pass begins.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Key;
use crate::desired::{FleetView, HintPhases, Holders};
use crate::model::catalog::Catalog;
use crate::model::fleet::Fleet;

/// How long a director waits for Nomad before Consul alone decides about new instances.
pub(super) const NOMAD_TIMEOUT: Duration = Duration::from_secs(10);

/// What all sources say.
#[derive(Debug, Clone)]
pub struct View {
    /// `None` until the catalogue has been read once in this process's life.
    pub catalog: Option<Arc<Catalog>>,
    /// When the answer that made the catalogue arrived.
    pub arrived: Option<Instant>,
    pub nomad: Nomad,
    /// Phases that drivers' hints say ahead of Nomad.
    pub hinted: HintPhases,
    /// How many changes of the hints are in these phases.
    pub hints: u64,
    /// When the next hint expires.
    pub hint_ends: Option<Instant>,
    /// Endpoints whose nodes say that they do not take the VIP.
    pub refusals: Arc<BTreeSet<Key>>,
    /// Where the sources themselves are: no VIP may be there.
    pub sources: Arc<Holders>,
}

/// What is known of Nomad.
#[derive(Debug, Clone)]
pub enum Nomad {
    /// It is not configured.
    Unconfigured,
    /// It has not answered yet.
    Awaited,
    Known(Arc<Fleet>),
}

impl Nomad {
    /// The fleet that decides now: none where Nomad has not answered for long, for then Consul decides alone.
    pub(super) fn fleet(&self, since_start: Duration) -> FleetView<'_> {
        match self {
            Self::Known(fleet) => FleetView::Known(fleet),
            Self::Awaited if since_start < NOMAD_TIMEOUT => FleetView::Awaited,
            Self::Awaited | Self::Unconfigured => FleetView::Absent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nomad_is_awaited_for_as_long_as_patience_lasts_and_known_whenever_it_has_answered() {
        let nearly = NOMAD_TIMEOUT.saturating_sub(Duration::from_millis(1));
        let fleet = |nomad: &Nomad, since_start| match nomad.fleet(since_start) {
            FleetView::Absent => "absent",
            FleetView::Awaited => "awaited",
            FleetView::Known(_) => "known",
        };
        for (nomad, early, late) in [
            (Nomad::Unconfigured, "absent", "absent"),
            (Nomad::Awaited, "awaited", "absent"),
            (Nomad::Known(Arc::default()), "known", "known"),
        ] {
            assert_eq!(fleet(&nomad, Duration::ZERO), early);
            assert_eq!(fleet(&nomad, nearly), early);
            assert_eq!(fleet(&nomad, NOMAD_TIMEOUT), late);
            assert_eq!(fleet(&nomad, NOMAD_TIMEOUT * 2), late);
        }
    }
}
