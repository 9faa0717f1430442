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
