//! A daemon around the core: what drives a director on a machine, ends at any step, and starts again from the disk.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipvs::fake::FakeKernel;
use ipvs::{Kernel, ServiceId};
use syncer_core::desired::HintPhases;
use syncer_core::guard::Hold;
use syncer_core::memory::Memory;
use syncer_core::model::catalog::Catalog;
use syncer_core::model::fleet::Fleet;
use syncer_core::model::policy::Policy;
use syncer_core::pass::{
    Director, Failure, Finish, Key, Look, Nomad, Now, PassState, Reason, View,
};
use syncer_core::plan::{Addresses, Plan, SnatSet, Step};
use syncer_core::reading::{Counts, Reading};

use super::random::Random;

/// Longer than a pass may take while something newer waits.
const LONG: Duration = Duration::from_secs(1);

/// What there is outside of the daemon.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    pub(crate) kernel: FakeKernel,
    pub(crate) addresses: Addresses,
    pub(crate) snat: Option<SnatSet>,
    pub(crate) disk: Memory,
}

#[derive(Debug)]
pub(crate) struct Daemon {
    pub(crate) catalog: Option<Arc<Catalog>>,
    pub(crate) fleet: Option<Arc<Fleet>>,
    /// Endpoints that have to show something before they serve.
    pub(crate) trials: BTreeSet<Key>,
    director: Director,
    state: Arc<PassState>,
    reason: Reason,
}

/// How a pass ended.
#[derive(Debug)]
pub(crate) enum PassEnd {
    /// With its last step, or earlier because something newer was known.
    Alive(Plan),
    /// The process died after so many steps.
    Killed(Plan, usize),
}

impl Daemon {
    /// A new process on that machine.
    pub(crate) fn start(machine: &Machine, policy: &Policy, now: Now) -> Self {
        let audit = Duration::from_secs(30);
        let director = Director::new(policy.clone(), audit, machine.disk.clone(), now);
        Self {
            catalog: None,
            fleet: None,
            trials: BTreeSet::new(),
            director: director.comparing_parts_with_the_whole(),
            state: Arc::default(),
            reason: Reason::Startup,
        }
    }

    /// Read the kernel before the next plan.
    pub(crate) fn audit(&mut self) {
        self.reason = Reason::Audit;
    }

    pub(crate) fn warm(&mut self, key: Key) {
        self.director.warm([key]);
    }

    pub(crate) fn hold(&self) -> Option<&Hold> {
        self.state.hold.as_ref()
    }

    pub(crate) fn is_failing(&self) -> bool {
        let pass = self.state.pass;
        pass.is_some_and(|pass| pass.failed > 0 || !pass.whole)
    }

    pub(crate) fn quiet(&self, plan: &Plan) -> bool {
        plan.steps.is_empty() && !self.is_failing()
    }

    /// One pass that may end after `life` steps; by chance it is slow, and something newer is known before its end.
    pub(crate) fn pass(
        &mut self,
        machine: &mut Machine,
        now: Now,
        life: Option<usize>,
        mut chance: Option<&mut Random>,
    ) -> PassEnd {
        let reason = std::mem::replace(&mut self.reason, Reason::Consul);
        let (start, look) = self.director.begin(reason, now);
        match look {
            Look::Nothing => {}
            Look::Count(services) => self.director.count(Ok(machine.counts(&services)), now),
            Look::Read => {
                let reading = machine.read(&self.director);
                assert!(self.director.read(Ok(reading), now.steady, now));
            }
        }
        let mut pass = self.director.decide(start, self.view(), now);
        let plan = pass.plan().clone();
        let mut done = 0;
        loop {
            let cut = chance.as_mut().is_some_and(|random| random.one_in(20));
            let steady = now.steady + if cut { LONG } else { Duration::ZERO };
            let Some(steps) = self
                .director
                .batch(&mut pass, Now { steady, ..now }, || cut)
            else {
                break;
            };
            let mut outcomes = Vec::with_capacity(steps.len());
            for step in steps {
                if life == Some(done) {
                    return PassEnd::Killed(plan, done);
                }
                done += 1;
                outcomes.push(machine.step(step));
            }
            self.director.outcomes(&mut pass, outcomes, now);
        }
        let Finish {
            state,
            memory,
            trials,
            ..
        } = self.director.finish(pass, now);
        machine.disk = memory.unwrap();
        let trials = trials.unwrap();
        self.trials = trials.probes.union(&trials.offers_due).copied().collect();
        self.state = state;
        self.director.notices().for_each(drop);
        PassEnd::Alive(plan)
    }

    fn view(&self) -> View {
        View {
            catalog: self.catalog.clone(),
            refusals: Arc::default(),
            arrived: None,
            nomad: self.fleet.clone().map_or(Nomad::Awaited, Nomad::Known),
            hinted: HintPhases::new(),
            hints: 0,
            hint_ends: None,
            sources: Arc::default(),
        }
    }
}

impl Machine {
    fn read(&mut self, director: &Director) -> Reading {
        let live = self.kernel.read(director.table()).unwrap();
        let services: Vec<ServiceId> = live.table.iter().map(|(id, _)| *id).collect();
        Reading {
            counts: self.counts(&services),
            table: live.table,
            addresses: self.addresses.clone(),
            snat: self.snat.clone(),
            ..Reading::default()
        }
    }

    fn counts(&self, services: &[ServiceId]) -> Counts {
        let reals = services.iter().flat_map(|id| {
            let service = self.kernel.table.get(id);
            let reals = service.map(ipvs::VirtualService::reals).unwrap_or_default();
            reals.iter().map(|real| (*id, real.address))
        });
        let count = |key: (ServiceId, SocketAddr)| {
            let counted = self.kernel.connections.get(&key).copied();
            (key, counted.unwrap_or_default())
        };
        reals.map(count).collect()
    }

    fn step(&mut self, step: &Step) -> Result<(), Failure> {
        match step {
            Step::Ipvs(command) => {
                let outcome = self.kernel.apply(&[*command]).unwrap().remove(0);
                return outcome.map_err(|refused| Failure::Refused {
                    reason: refused.to_string(),
                    refused,
                });
            }
            Step::SetSnat(services) => self.snat = Some(services.clone()),
            Step::AddVip(vip) => {
                self.addresses.present.insert(*vip);
                self.addresses.ours.insert(*vip);
            }
            Step::RemoveVip(vip) => {
                self.addresses.present.remove(vip);
                self.addresses.ours.remove(vip);
            }
            Step::SetSysctl(_) | Step::ForgetFlows(..) | Step::ForgetUnanswered(_) => {}
        }
        Ok(())
    }
}
