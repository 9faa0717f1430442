//! A daemon around the pure core, as `reconcile` is: mirror, memory on disk, and an end at any step.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use ipvs::fake::FakeKernel;
use ipvs::{Connections, Kernel, ServiceId, Table};
use ipvs_syncer::desired::{Desired, FleetView, Hinted, Saved, Scope, Snapshots, desired, renew};
use ipvs_syncer::guard::{Evidence, Losses, guard};
use ipvs_syncer::model::Moment;
use ipvs_syncer::model::catalog::Catalog;
use ipvs_syncer::model::fleet::Fleet;
use ipvs_syncer::model::policy::Policy;
use ipvs_syncer::plan::{Addresses, Drains, Gate, Observed, Plan, SnatSet, Step, Sysctls, plan};

/// What there is outside of the daemon.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    pub(crate) kernel: FakeKernel,
    pub(crate) addresses: Addresses,
    pub(crate) snat: Option<SnatSet>,
    pub(crate) disk: Disk,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    services: Saved,
    drains: Drains,
}

#[derive(Debug, Default)]
pub(crate) struct Daemon {
    pub(crate) catalog: Option<Arc<Catalog>>,
    pub(crate) fleet: Option<Arc<Fleet>>,
    pub(crate) losses: Losses,
    pub(crate) probes: BTreeSet<(ServiceId, SocketAddr)>,
    warmed: BTreeSet<(ServiceId, SocketAddr)>,
    mirror: Option<(Table, Addresses, Option<SnatSet>)>,
    memory: Disk,
    desired: Desired,
    scope: Scope,
    failing: bool,
}

/// How a pass ended.
#[derive(Debug)]
pub(crate) enum Ended {
    Whole(Plan),
    /// The process died after so many steps.
    Killed(Plan, usize),
}

impl Daemon {
    /// A new process on that machine.
    pub(crate) fn start(machine: &Machine) -> Self {
        Self {
            memory: machine.disk.clone(),
            ..Self::default()
        }
    }

    /// Read the kernel before the next plan.
    pub(crate) fn audit(&mut self) {
        self.mirror = None;
    }

    pub(crate) fn warm(&mut self, key: (ServiceId, SocketAddr)) {
        self.warmed.insert(key);
    }

    pub(crate) fn is_failing(&self) -> bool {
        self.failing
    }

    pub(crate) fn quiet(&self, plan: &Plan) -> bool {
        plan.steps.is_empty() && !self.failing
    }

    /// One pass that may end after `life` steps.
    pub(crate) fn pass(
        &mut self,
        machine: &mut Machine,
        policy: &Policy,
        now: Moment,
        life: Option<usize>,
    ) -> Ended {
        if self.mirror.is_none() || self.failing {
            let live = machine
                .kernel
                .read(
                    &self
                        .mirror
                        .take()
                        .map(|mirror| mirror.0)
                        .unwrap_or_default(),
                )
                .unwrap();
            self.mirror = Some((live.table, machine.addresses.clone(), machine.snat.clone()));
            self.failing = false;
            self.scope = Scope::Whole;
        }
        let (table, addresses, snat) = self.mirror.as_mut().unwrap();
        let mut counts = BTreeMap::new();
        for (id, real) in self.memory.drains.0.keys() {
            let counted = machine.kernel.connections.get(&(*id, *real)).copied();
            counts.insert((*id, *real), counted.unwrap_or(Connections::default()));
        }
        let fleet = self
            .fleet
            .as_ref()
            .map_or(FleetView::Awaited, FleetView::Known);
        let (warmed, last) = (&self.warmed, &self.memory.services);
        let snapshots = Snapshots {
            catalog: self.catalog.as_ref(),
            fleet,
            warmed,
            last,
            hints: &Hinted::new(),
            occupied: &Arc::default(),
        };
        let whole = desired(&snapshots, policy);
        let (mut desired, changed) = renew(std::mem::take(&mut self.desired), &snapshots, policy);
        assert_eq!(desired.services, whole.services, "{changed:?}");
        let mut scope = std::mem::take(&mut self.scope).and(changed);
        let confirmations = self
            .catalog
            .as_ref()
            .map_or(0, |catalog| catalog.confirmations);
        let evidence = Evidence {
            table,
            last,
            catalog: self.catalog.as_deref(),
            confirmations,
            restarts: 0,
        };
        self.losses = guard(&mut desired, &evidence, policy, &self.losses, now);
        if self.losses.hold.is_some() {
            scope = Scope::Whole;
        }
        let observed = Observed {
            table,
            connections: &counts,
            addresses,
            snat: snat.as_ref(),
            sysctls: &Sysctls::new(),
        };
        let drains = &self.memory.drains;
        let within = |scope| plan(&desired, &observed, drains, &policy.ownership, scope, now);
        let (plan, whole) = (within(&scope), within(&Scope::Whole));
        assert_eq!(
            (&plan.steps, &plan.drains, plan.wake_at, &plan.probes),
            (&whole.steps, &whole.drains, whole.wake_at, &whole.probes),
            "{scope:?}"
        );
        let before = snat.clone();
        let mut gate = Gate::new(&desired, before.as_ref());
        let mut done = 0;
        for stage in plan.in_stages() {
            // As the daemon does: all of a stage is decided before anything of it is done.
            let mut sent = Vec::with_capacity(stage.len());
            for step in stage {
                if gate.lets(step, table) {
                    sent.push(step);
                } else {
                    gate.failed(step, table);
                    self.failing = true;
                }
            }
            for step in sent {
                if life == Some(done) {
                    return Ended::Killed(plan.clone(), done);
                }
                done += 1;
                if machine.step(step) {
                    reflect(step, table, addresses, snat);
                } else {
                    gate.failed(step, table);
                    self.failing = true;
                }
            }
        }
        if !self.failing {
            self.scope = plan.next.clone();
        }
        self.memory.drains = plan.drains.clone();
        if desired.complete {
            self.memory.services.renew(&scope, &desired, table);
        }
        machine.disk = self.memory.clone();
        self.probes = plan.probes.iter().copied().collect();
        self.warmed.retain(|(id, real)| {
            let serves = table
                .get(id)
                .and_then(|service| service.real(*real))
                .is_some_and(|real| real.weight.serves());
            !serves && self.probes.contains(&(*id, *real))
        });
        self.desired = desired;
        Ended::Whole(plan)
    }
}

impl Machine {
    fn step(&mut self, step: &Step) -> bool {
        match step {
            Step::Ipvs(command) => return self.kernel.apply(&[*command]).unwrap()[0].is_ok(),
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
        true
    }
}

fn reflect(step: &Step, table: &mut Table, addresses: &mut Addresses, snat: &mut Option<SnatSet>) {
    match step {
        Step::Ipvs(command) => drop(table.apply(command)),
        Step::SetSnat(services) => *snat = Some(services.clone()),
        Step::AddVip(vip) => {
            addresses.present.insert(*vip);
            addresses.ours.insert(*vip);
        }
        Step::RemoveVip(vip) => {
            addresses.present.remove(vip);
            addresses.ours.remove(vip);
        }
        Step::SetSysctl(_) | Step::ForgetFlows(..) | Step::ForgetUnanswered(_) => {}
    }
}
