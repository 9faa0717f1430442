//! The real director: each step goes to the part of the kernel that it is for. Steps of one kind that follow each other go
//! in one batch.

use ipvs::{ServiceId, Table};
use syncer_core::memory::Memory;
use syncer_core::plan::Step;
use syncer_core::reading::{Counts, Reading};

use super::rules::Rules;
use super::sysctl::Settings;
use super::table::KernelTable;
use super::vip::Vips;
use super::{Counter, DataPlane, DataPlaneError, flow, sysctl};
use crate::config;

/// IPVS, addresses, SNAT and sysctls of this network namespace.
#[derive(Debug)]
pub struct KernelDataPlane {
    table: KernelTable,
    vips: Vips,
    settings: Settings,
    rules: Rules,
}

impl KernelDataPlane {
    /// Opens the kernel's table, with what an earlier process of ours remembered.
    pub fn open(config: &config::DirectorConfig, memory: &Memory) -> Result<Self, DataPlaneError> {
        Ok(Self {
            table: KernelTable::open()?,
            vips: Vips::open(config, memory)?,
            settings: Settings::of(&config.interface),
            rules: Rules::new(config.snat_backend),
        })
    }

    /// Counts connections beside whatever the director does.
    pub fn counter(&self) -> Counter {
        self.table.counter()
    }

    /// Waits until one of the netlink threads is no more.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let (table, vips) = (self.table.ended(), self.vips.ended());
        async move {
            tokio::select! {
                () = table => {}
                () = vips => {}
            }
        }
    }

    /// Does the first step and those of its kind that follow it; one outcome each.
    async fn run(&mut self, first: &Step, steps: &[Step]) -> Vec<Result<(), DataPlaneError>> {
        match first {
            Step::Ipvs(_) => {
                let commands = run_of(steps, |step| match step {
                    Step::Ipvs(command) => Some(*command),
                    _ => None,
                });
                self.table.apply(commands).await
            }
            Step::AddVip(_) => {
                let vips = run_of(steps, |step| match step {
                    Step::AddVip(vip) => Some(*vip),
                    _ => None,
                });
                self.vips.add(vips).await
            }
            Step::RemoveVip(_) => {
                let vips = run_of(steps, |step| match step {
                    Step::RemoveVip(vip) => Some(*vip),
                    _ => None,
                });
                self.vips.remove(vips).await
            }
            Step::ForgetUnanswered(_) => {
                let vips = run_of(steps, |step| match step {
                    Step::ForgetUnanswered(vip) => Some(*vip),
                    _ => None,
                });
                flow::forget_unanswered(&vips).await
            }
            Step::SetSysctl(sysctl) => vec![sysctl::ensure(sysctl).map_err(Into::into)],
            Step::SetSnat(services) => vec![self.rules.set(services).await],
            Step::ForgetFlows(id, real) => {
                vec![flow::forget_of(id, *real).await.map_err(Into::into)]
            }
        }
    }
}

impl DataPlane for KernelDataPlane {
    async fn read(&mut self, expected: &Table) -> Result<Reading, DataPlaneError> {
        let live = self.table.read(expected).await?;
        Ok(Reading {
            addresses: self.vips.read(&live.table).await?,
            snat: self.rules.read().await,
            sysctls: self.settings.read(),
            unreadable: live.unreadable,
            table: live.table,
            counts: live.connections,
        })
    }

    async fn differs(&mut self) {
        tokio::select! {
            () = self.rules.differ() => {}
            () = self.settings.differ() => {}
            () = self.vips.depart() => {}
        }
    }

    async fn count(&mut self, services: &[ServiceId]) -> Result<Counts, DataPlaneError> {
        self.table.count(services).await
    }

    async fn apply(&mut self, steps: &[Step]) -> Vec<Result<(), DataPlaneError>> {
        let mut outcomes = Vec::with_capacity(steps.len());
        let mut rest = steps;
        while let Some(first) = rest.first() {
            let run = self.run(first, rest).await;
            rest = rest.get(run.len().max(1)..).unwrap_or_default();
            outcomes.extend(run);
        }
        outcomes
    }
}

/// Collects a part of each step, up to the first step of another kind.
fn run_of<T>(steps: &[Step], part: impl Fn(&Step) -> Option<T>) -> Vec<T> {
    steps.iter().map_while(part).collect()
}
