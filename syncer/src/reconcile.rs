//! The one loop of a director: wake, look, decide, act, publish.
//!
//! ```text
//! watch<Catalog>, watch<Fleet>, warmed, timer, audit ─▶ pass ─▶ director
//!                                                         └──▶ store, watch<PassState>
//! ```
//!
//! The first event runs a pass at once; what comes meanwhile is seen by the next one, for snapshots are whole. A pass
//! plans against a mirror of what was applied. The kernel itself is read at start, on the audit timer and after a step
//! that left it in doubt. No failure ends the loop; on exit everything stays as it is.

mod act;
mod audits;
mod drift;
mod pass;
mod publish;
mod refusal;
mod state;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use state::{PassRecord, PassState, ServiceState, Unread};

use audits::Audits;
use publish::Errors;
use refusal::Refusals;

use crate::desired::{Desired, Occupied, Saved, Scope};
use crate::director::{Director, Reading};
use crate::guard::Losses;
use crate::model::Moment;
use crate::model::catalog::Catalog;
use crate::model::fleet::Fleet;
use crate::model::policy::Policy;
use crate::plan::Drains;
use crate::source::blocking::Backoff;
use crate::source::driver::Board;
use crate::source::{self, Published, changed, until};
use crate::store::{Memory, Store};
use crate::warm::{Key, Prober};

/// What set a pass off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    Startup,
    Consul,
    Nomad,
    /// A driver told something.
    Driver,
    Warmed,
    Timer,
    Audit,
    /// The config was read again.
    Config,
}

impl Reason {
    /// In one word.
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

/// Where a reconciler hears from.
#[derive(Debug)]
pub struct Inputs {
    pub catalog: watch::Receiver<Published<Catalog>>,
    /// `None`: Nomad is not configured.
    pub fleet: Option<watch::Receiver<Published<Fleet>>>,
    /// Asks the catalogue's source for a second, independent read.
    pub confirm: mpsc::Sender<()>,
    /// Where the sources themselves are: no VIP may be there.
    pub sources: watch::Receiver<Arc<Occupied>>,
    /// What drivers told.
    pub board: Board,
}

/// The loop and all that it remembers.
#[derive(Debug)]
pub struct Reconciler<D> {
    director: D,
    policy: Policy,
    /// Where a policy comes from that replaces it.
    policies: Option<watch::Receiver<Policy>>,
    audits: Audits,
    inputs: Inputs,
    store: Store,
    prober: Prober,
    hinted: watch::Receiver<u64>,
    warm_told: mpsc::UnboundedReceiver<Key>,
    started: Instant,
    state: State,
    /// What is published next, and where.
    passed: PassState,
    publisher: watch::Sender<Arc<PassState>>,
}

/// What one pass leaves to the next.
#[derive(Debug)]
struct State {
    /// What the kernel has, as far as we know.
    mirror: Reading,
    /// The mirror can't be trusted: read before the next plan.
    doubtful: bool,
    /// Read at least once, so that a difference is somebody else's doing.
    read: bool,
    drains: Drains,
    last: Saved,
    desired: Desired,
    occupied: Arc<Occupied>,
    /// What the next plan has to look at, as far as is known by now.
    scope: Scope,
    losses: Losses,
    /// When the catalogue's source was last asked for a confirming read.
    confirm_asked: Option<Instant>,
    /// How long after that it is asked again.
    confirm_every: Duration,
    warmed: BTreeSet<Key>,
    failures: Backoff,
    refusals: Refusals,
    /// When to run a pass although nothing happened.
    wake: Option<Instant>,
    seen_arrival: Option<Instant>,
    acknowledged: Histogram<u64>,
    errors: Errors,
    /// What the last reading found that was not as we had left it.
    drift: Vec<String>,
}

impl<D: Director> Reconciler<D> {
    /// Over what an earlier process remembered.
    pub fn new(
        director: D,
        policy: Policy,
        audit: Duration,
        inputs: Inputs,
        store: Store,
        memory: Memory,
    ) -> Self {
        let (prober, warm_told) = Prober::new();
        let hinted = inputs.board.subscribe();
        let audits = Audits::every(audit);
        let state = State {
            mirror: Reading::default(),
            doubtful: true,
            read: false,
            drains: memory.drains,
            last: memory.services,
            desired: Desired::default(),
            occupied: Arc::default(),
            scope: Scope::Whole,
            losses: Losses::default(),
            confirm_asked: None,
            confirm_every: Duration::ZERO,
            warmed: BTreeSet::new(),
            failures: Backoff::default(),
            refusals: Refusals::default(),
            wake: None,
            seen_arrival: None,
            acknowledged: Histogram::new(3)
                .expect("three significant digits are a valid precision"),
            errors: Errors::default(),
            drift: Vec::new(),
        };
        let passed = PassState {
            interval: audits.interval(),
            ..PassState::default()
        };
        let (publisher, _) = watch::channel(Arc::new(passed.clone()));
        Self {
            director,
            policy,
            policies: None,
            audits,
            inputs,
            store,
            prober,
            hinted,
            warm_told,
            started: Instant::now(),
            state,
            passed,
            publisher,
        }
    }

    /// Takes whatever policy comes there in place of its own.
    #[must_use]
    pub fn following(mut self, policies: watch::Receiver<Policy>) -> Self {
        self.policies = Some(policies);
        self
    }

    /// All that was decided by the earlier policy is decided anew.
    fn adopt_policy(&mut self) {
        let Some(policies) = &mut self.policies else {
            return;
        };
        let next = policies.borrow_and_update().clone();
        let before = std::mem::replace(&mut self.policy, next);
        let wanted: BTreeSet<_> = self
            .policy
            .services
            .values()
            .map(|block| block.vip.id)
            .collect();
        let gone = before.services.values().map(|block| block.vip.id);
        for id in gone.filter(|id| !wanted.contains(id)) {
            if let Some(service) = self.state.mirror.table.get(&id) {
                let now = source::now();
                self.state.losses.intend(id, service.reals(), now);
            }
        }
        self.state.desired.basis = None;
        self.state.scope = Scope::Whole;
    }

    /// What each pass leaves behind.
    pub fn passes(&self) -> watch::Receiver<Arc<PassState>> {
        self.publisher.subscribe()
    }

    /// Why the newest state is not on disk.
    pub fn store_trouble(&self) -> watch::Receiver<Option<String>> {
        self.store.trouble()
    }

    /// Runs until `stop`, and then leaves everything as it is.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut reason = Reason::Startup;
        loop {
            self.pass(reason).await;
            match self.next(&stop).await {
                Some(next) => reason = next,
                None => break,
            }
        }
        self.store.close().await;
    }

    /// Waits for a reason to run a pass; `None` ends it. Every arm is cancel-safe: watches and timers keep their state, a
    /// message that is taken is handled before the next wait.
    async fn next(&mut self, stop: &CancellationToken) -> Option<Reason> {
        tokio::select! {
            () = stop.cancelled() => None,
            () = changed(Some(&mut self.inputs.catalog)) => Some(Reason::Consul),
            () = changed(self.inputs.fleet.as_mut()) => Some(Reason::Nomad),
            () = changed(Some(&mut self.hinted)) => Some(Reason::Driver),
            // The audit goes on: what it left to be found out is found out.
            () = self.director.differs() => Some(Reason::Audit),
            () = changed(self.policies.as_mut()) => {
                self.adopt_policy();
                Some(Reason::Config)
            }
            Some(key) = self.warm_told.recv() => {
                // One pass for all that are there by now.
                let more = std::iter::from_fn(|| self.warm_told.try_recv().ok());
                self.state.warmed.extend(std::iter::once(key).chain(more));
                Some(Reason::Warmed)
            }
            () = until(self.state.wake) => Some(Reason::Timer),
            () = self.audits.due() => Some(Reason::Audit),
        }
    }
}

/// When a moment of the wall clock is, on the clock of the timers.
fn instant_of(at: Moment, now: Moment) -> Instant {
    Instant::now() + at.since(now)
}

#[cfg(test)]
mod tests;
