//! The one loop of a director: it drives [`syncer_core::pass`], and decides nothing.
//!
//! ```text
//! watch<Catalog>, watch<Fleet>, warmed, timer, audit ─▶ pass ⇄ data plane
//!                                                         └──▶ store, prober, watch<PassState>
//! ```
//!
//! The first event runs a pass at once; what comes meanwhile is seen by the next one, for snapshots are whole. No failure
//! ends the loop; on exit everything stays as it is.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use syncer_core::desired::Holders;
use syncer_core::memory::Memory;
use syncer_core::model::catalog::Catalog;
use syncer_core::model::fleet::Fleet;
use syncer_core::model::policy::Policy;
use syncer_core::pass::{
    Confirmation, Director, Finish, Key, Look, Nomad, Notice, Now, Pass, PassStart, PassState,
    Reason, View,
};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::dataplane::{DataPlane, DataPlaneError};
use crate::offer::Offers;
use crate::source::driver::Board;
use crate::source::{self, Published, changed, until};
use crate::store::Store;
use crate::warm::Prober;

/// What a reconciler listens to.
#[derive(Debug)]
pub struct Inputs {
    pub catalog: watch::Receiver<Published<Catalog>>,
    /// `None`: Nomad is not configured.
    pub fleet: Option<watch::Receiver<Published<Fleet>>>,
    /// Asks the catalogue's source for a second, independent read.
    pub confirm: mpsc::Sender<()>,
    /// Where the sources themselves are: no VIP may be there.
    pub sources: watch::Receiver<Arc<Holders>>,
    /// Drivers' hints.
    pub board: Board,
    /// What nodes are asked to take.
    pub offers: Offers,
}

/// The loop, and what it drives.
#[derive(Debug)]
pub struct Reconciler<D> {
    dataplane: D,
    director: Director,
    /// Where a policy comes from that replaces the director's.
    policies: Option<watch::Receiver<Policy>>,
    inputs: Inputs,
    store: Store,
    prober: Prober,
    hinted: watch::Receiver<u64>,
    warmed: mpsc::UnboundedReceiver<Key>,
    refusals: watch::Receiver<Arc<BTreeSet<Key>>>,
    /// When to run a pass although nothing happened.
    wake: Option<Instant>,
    publisher: watch::Sender<Arc<PassState>>,
}

/// Both clocks.
fn now() -> Now {
    Now {
        wall: source::now(),
        steady: Instant::now().into_std(),
    }
}

impl<D: DataPlane> Reconciler<D> {
    /// A reconciler with what an earlier process remembered.
    pub fn new(
        dataplane: D,
        policy: Policy,
        audit: Duration,
        inputs: Inputs,
        store: Store,
        memory: Memory,
    ) -> Self {
        let (prober, warmed) = Prober::new(inputs.offers.clone());
        let hinted = inputs.board.subscribe();
        let refusals = inputs.offers.refusals();
        let director = Director::new(policy, audit, memory, now());
        let (publisher, _) = watch::channel(Arc::new(director.state()));
        Self {
            dataplane,
            director,
            policies: None,
            inputs,
            store,
            prober,
            hinted,
            warmed,
            refusals,
            wake: None,
            publisher,
        }
    }

    /// Takes each policy from that channel in place of its own.
    #[must_use]
    pub fn following(mut self, policies: watch::Receiver<Policy>) -> Self {
        self.policies = Some(policies);
        self
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
            () = self.dataplane.differs() => Some(Reason::Audit),
            () = changed(Some(&mut self.refusals)) => Some(Reason::Warmed),
            () = changed(self.policies.as_mut()) => {
                self.adopt_policy();
                Some(Reason::Config)
            }
            Some(key) = self.warmed.recv() => {
                // One pass for all that are there by now.
                let more = std::iter::from_fn(|| self.warmed.try_recv().ok());
                self.director.warm(std::iter::once(key).chain(more));
                Some(Reason::Warmed)
            }
            () = until(self.wake) => Some(Reason::Timer),
            () = tokio::time::sleep_until(self.director.audit_at().into()) => Some(Reason::Audit),
        }
    }

    fn adopt_policy(&mut self) {
        if let Some(policies) = &mut self.policies {
            let policy = policies.borrow_and_update().clone();
            self.director.adopt(policy, now());
        }
    }

    async fn pass(&mut self, reason: Reason) {
        let start = Instant::now();
        let (pass, look) = self.director.begin(reason, now());
        let finish = if self.look(look).await {
            self.carry_out(pass).await
        } else {
            self.director.give_up(pass, now())
        };
        self.leave(finish);
        let micros = start.elapsed().as_micros();
        let (steps, failed) = {
            let state = self.publisher.borrow();
            let record = state.pass.as_ref();
            record.map_or((0, 0), |record| (record.steps, record.failed))
        };
        if steps > 0 {
            info!(reason = reason.word(), steps, failed, micros, "pass");
        } else {
            debug!(reason = reason.word(), micros, "pass without a change");
        }
    }

    /// Looks at what the pass has to know; says whether there is something to plan against.
    async fn look(&mut self, look: Look) -> bool {
        match look {
            Look::Nothing => true,
            Look::Read => {
                let start = Instant::now().into_std();
                let answer = self.dataplane.read(self.director.table()).await;
                let answer = answer.map_err(|error| error.chain());
                self.director.read(answer, start, now())
            }
            Look::Count(services) => {
                let answer = self.dataplane.count(&services).await;
                let answer = answer.map_err(|error| error.chain());
                self.director.count(answer, now());
                true
            }
        }
    }

    async fn carry_out(&mut self, start: PassStart) -> Finish {
        let view = self.view();
        let mut pass = self.director.decide(start, view, now());
        if pass.confirmation() == Confirmation::Due {
            // A request that is already waiting serves as well.
            let _ = self.inputs.confirm.try_send(());
        }
        self.tell();
        self.act(&mut pass).await;
        self.director.finish(pass, now())
    }

    /// Collects what the sources say by now.
    fn view(&mut self) -> View {
        let (catalog, arrived) = {
            let published = self.inputs.catalog.borrow_and_update();
            (published.view.clone(), published.arrived)
        };
        let nomad = match &mut self.inputs.fleet {
            None => Nomad::Unconfigured,
            Some(fleet) => match &fleet.borrow_and_update().view {
                None => Nomad::Awaited,
                Some(fleet) => Nomad::Known(Arc::clone(fleet)),
            },
        };
        let fleet = match &nomad {
            Nomad::Known(fleet) => Some(&**fleet),
            Nomad::Unconfigured | Nomad::Awaited => None,
        };
        // A hint that comes meanwhile is in the phases and not among those that were seen: the pass after this one counts it.
        let hints = self.inputs.board.version();
        let hinted = self.inputs.board.phases(fleet);
        View {
            catalog,
            arrived: arrived.map(Instant::into_std),
            hinted,
            hints,
            hint_ends: self.inputs.board.next_end().map(Instant::into_std),
            sources: Arc::clone(&self.inputs.sources.borrow()),
            refusals: Arc::clone(&self.refusals.borrow_and_update()),
            nomad,
        }
    }

    async fn act(&mut self, pass: &mut Pass) {
        let Self {
            dataplane,
            director,
            inputs,
            hinted,
            ..
        } = self;
        while let Some(steps) = director.batch(pass, now(), || is_outdated(inputs, hinted)) {
            let outcomes = dataplane.apply(steps).await;
            for (step, outcome) in steps.iter().zip(&outcomes) {
                match outcome {
                    Ok(()) => debug!(%step, "done"),
                    Err(error) => warn!(%step, error = error.chain(), "step failed"),
                }
            }
            let outcomes = outcomes
                .into_iter()
                .map(|outcome| outcome.map_err(DataPlaneError::into_failure));
            director.outcomes(pass, outcomes, now());
        }
    }

    /// Hands on what a pass leaves behind.
    fn leave(&mut self, finish: Finish) {
        self.tell();
        if let Some(memory) = finish.memory {
            self.store.remember(memory);
        }
        self.wake = finish.wake.map(Instant::from_std);
        // Before trials end: what they have offered is offered as what it has become.
        self.publisher.send_replace(finish.state);
        if let Some(trials) = finish.trials {
            self.prober.want(&trials);
        }
    }

    fn tell(&mut self) {
        for notice in self.director.notices() {
            match &notice {
                Notice::Released => info!("{notice}"),
                Notice::Withheld(_) => debug!("{notice}"),
                Notice::Drift(_) | Notice::Unreadable(_) | Notice::Held { .. } => warn!("{notice}"),
            }
        }
    }
}

/// Whether a source has anything that the pass has not seen.
fn is_outdated(inputs: &Inputs, hinted: &watch::Receiver<u64>) -> bool {
    let fleet = inputs.fleet.as_ref().map(watch::Receiver::has_changed);
    let news = [
        Some(inputs.catalog.has_changed()),
        fleet,
        Some(hinted.has_changed()),
    ];
    // One that is closed has nothing new any more.
    news.into_iter().flatten().any(Result::unwrap_or_default)
}
