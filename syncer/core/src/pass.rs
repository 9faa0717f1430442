//! The life of a director, one pass after the other, as a value that somebody else drives.
//!
//! ```text
//! begin ─▶ what to look at ─▶ read, counted ─▶ decide ─▶ batch ⇄ outcomes ─▶ finish ─▶ what is left behind
//! ```
//!
//! A pass is the same at a cold start, on an event and on a timer. It plans against a mirror of what was applied; the
//! data plane itself is read at start, on an audit and after a step that left the mirror in doubt. The driver of a
//! [`Director`] carries its wishes out and tells it what came of them, and when; it decides nothing. The daemon's loop is
//! one driver, the seeded simulation another.

mod act;
mod audits;
#[cfg(feature = "testing")]
mod compare;
mod decide;
mod drift;
mod errors;
mod finish;
mod latency;
mod look;
mod notice;
mod refusal;
mod state;
mod view;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipvs::{Command, ServiceId, Table};

pub use act::{Confirmation, Failure, Pass};
pub use finish::{Finish, Trials};
pub use latency::AckLatency;
pub use look::{Look, PassStart};
pub use notice::Notice;
pub use state::{PassRecord, PassState, ServiceState, Unread};
pub use view::{Nomad, View};

use audits::Audits;
use errors::Errors;
use latency::Latencies;
use refusal::Refusals;

use crate::backoff::Backoff;
use crate::desired::{Desired, Holders, SavedTable, Scope};
use crate::guard::Losses;
use crate::memory::Memory;
use crate::model::Moment;
use crate::model::policy::{Policy, ServiceBlock};
use crate::plan::{Drains, Ramps};
use crate::reading::Reading;

/// A virtual service's endpoint.
pub type Key = (ServiceId, SocketAddr);

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The clock for what has to survive a restart.
    pub wall: Moment,
    /// The clock for what has to be sure to pass.
    pub steady: Instant,
}

/// What set a pass off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    Startup,
    Consul,
    Nomad,
    /// A driver gave a hint.
    Driver,
    Warmed,
    Timer,
    Audit,
    /// The config was read again.
    Config,
}

impl Reason {
    /// Names the reason in one word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::Consul => "consul",
            Self::Nomad => "nomad",
            Self::Driver => "driver",
            Self::Warmed => "warmed",
            Self::Timer => "timer",
            Self::Audit => "audit",
            Self::Config => "config",
        }
    }
}

/// Whether the mirror is what the data plane has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// Nothing was ever read.
    Unread,
    /// It has to be read again before the next plan.
    Doubtful,
    /// It is, as far as is known; a difference is somebody else's doing.
    Current,
}

impl Trust {
    /// Notes that something is not as the mirror has it.
    fn doubt(&mut self) {
        if *self == Self::Current {
            *self = Self::Doubtful;
        }
    }
}

/// All that a director knows from one pass to the next.
#[derive(Debug)]
pub struct Director {
    policy: Policy,
    /// When its first pass could begin.
    started: Instant,
    audits: Audits,
    /// What the data plane has, as far as is known.
    mirror: Reading,
    trust: Trust,
    /// Additions of what was there already: the next reading looks for it by name, for a dump can lose entries.
    expected: Vec<Command>,
    drains: Drains,
    ramps: Ramps,
    last: SavedTable,
    desired: Desired,
    occupied: Arc<Holders>,
    /// What the next plan has to look at, as far as is known by now.
    scope: Scope,
    losses: Losses,
    /// When a confirming read of the catalogue was last asked for.
    confirmation_request: Option<Instant>,
    /// How long after that the director asks again.
    confirmation_interval: Duration,
    warmed: BTreeSet<Key>,
    failures: Backoff,
    refusals: Refusals,
    seen_arrival: Option<Instant>,
    latencies: Latencies,
    errors: Errors,
    /// Whether SNAT rules that were there are gone, and are not set again yet.
    snat_lost: bool,
    /// What the last reading found that was not as it was left.
    drift: Vec<String>,
    notices: Vec<Notice>,
    /// What is published next.
    passed: PassState,
    #[cfg(feature = "testing")]
    compares: bool,
}

impl Director {
    /// A director with what an earlier process remembered. `audit` is the shortest time between two audits.
    pub fn new(policy: Policy, audit: Duration, memory: Memory, now: Now) -> Self {
        let audits = Audits::every(audit, now.steady);
        let passed = PassState {
            interval: audits.interval(),
            ..PassState::default()
        };
        Self {
            policy,
            started: now.steady,
            audits,
            mirror: Reading::default(),
            trust: Trust::Unread,
            expected: Vec::new(),
            drains: memory.drains,
            ramps: Ramps::new(),
            last: memory.services,
            desired: Desired::default(),
            occupied: Arc::default(),
            scope: Scope::Whole,
            losses: Losses::default(),
            confirmation_request: None,
            confirmation_interval: Duration::ZERO,
            warmed: BTreeSet::new(),
            failures: Backoff::default(),
            refusals: Refusals::default(),
            seen_arrival: None,
            latencies: Latencies::default(),
            errors: Errors::default(),
            snat_lost: false,
            drift: Vec::new(),
            notices: Vec::new(),
            passed,
            #[cfg(feature = "testing")]
            compares: false,
        }
    }

    /// Takes a policy in place of the earlier one, and decides anew whatever that one had decided.
    pub fn adopt(&mut self, policy: Policy, now: Now) {
        let before = std::mem::replace(&mut self.policy, policy);
        let blocks = self.policy.services.values();
        let wanted: BTreeSet<_> = blocks.flat_map(ServiceBlock::ids).collect();
        let gone = before.services.values().flat_map(ServiceBlock::ids);
        for id in gone.filter(|id| !wanted.contains(id)) {
            if let Some(service) = self.mirror.table.get(&id) {
                self.losses.intend(id, service.reals(), now.wall);
            }
        }
        self.desired.basis = None;
        self.scope = Scope::Whole;
    }

    /// Notes that these endpoints have passed their trial.
    pub fn warm(&mut self, endpoints: impl IntoIterator<Item = Key>) {
        self.warmed.extend(endpoints);
    }

    /// Gives the table that the data plane is expected to have.
    pub fn table(&self) -> &Table {
        &self.mirror.table
    }

    /// Gives the state before the first pass, or as the last one has left it.
    pub fn state(&self) -> PassState {
        self.passed.clone()
    }

    /// Says when the next audit is due, whatever happens.
    pub fn audit_at(&self) -> Instant {
        self.audits.due()
    }

    /// Gives what a person should read, each message once.
    pub fn notices(&mut self) -> impl Iterator<Item = Notice> + use<> {
        std::mem::take(&mut self.notices).into_iter()
    }
}

#[cfg(test)]
mod tests;
