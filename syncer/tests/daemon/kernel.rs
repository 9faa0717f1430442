//! A director in memory: the fake kernel's table, addresses and SNAT set, shared so that it outlives a daemon.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ipvs::fake::FakeKernel;
use ipvs::{Kernel, ServiceId, Table};
use ipvs_syncer::dataplane::{DataPlane, DataPlaneError};
use syncer_core::desired::Holder;
use syncer_core::plan::{Addresses, SnatSet, Step, Sysctls};
use syncer_core::reading::{Counts, Reading};
use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(crate) struct Inside {
    pub(crate) kernel: FakeKernel,
    pub(crate) addresses: Addresses,
    pub(crate) snat: Option<SnatSet>,
    pub(crate) steps: Vec<Step>,
    pub(crate) reads: usize,
    pub(crate) sysctls: Sysctls,
    /// How long each batch of steps takes.
    pub(crate) slowness: Duration,
    /// Who on the link answers for which address.
    pub(crate) neighbours: BTreeMap<IpAddr, Arc<str>>,
    /// What the rules for SNAT really are, where readings tell of them as they were until a check has come to its end.
    pub(crate) found_later: Option<SnatSet>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct FakeDirector(Arc<Mutex<Inside>>, Arc<Notify>);

impl FakeDirector {
    pub(crate) fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap()
    }

    /// A check that a reading began comes to its end, and finds these rules.
    pub(crate) fn finds(&self, snat: SnatSet) {
        self.inside().found_later = Some(snat);
        self.1.notify_one();
    }

    /// Each real server as `service -> address weight`.
    pub(crate) fn rows(&self) -> Vec<String> {
        let inside = self.inside();
        let services = inside.kernel.table.iter();
        services
            .flat_map(|(id, service)| {
                service
                    .reals()
                    .iter()
                    .map(move |real| format!("{id} -> {} {}", real.address, real.weight))
            })
            .collect()
    }
}

fn neighbour(link: &Arc<str>) -> Holder {
    Holder::Neighbour {
        link: Arc::clone(link),
    }
}

impl DataPlane for FakeDirector {
    async fn read(&mut self, expected: &Table) -> Result<Reading, DataPlaneError> {
        let mut inside = self.inside();
        inside.reads += 1;
        let live = inside.kernel.read(expected)?;
        let (mut addresses, snat) = (inside.addresses.clone(), inside.snat.clone());
        let neighbours = inside.neighbours.iter();
        let holder = |(vip, link): (&IpAddr, &Arc<str>)| (*vip, neighbour(link));
        addresses.occupied.extend(neighbours.map(holder));
        Ok(Reading {
            sysctls: inside.sysctls.clone(),
            unreadable: live.unreadable,
            table: live.table,
            counts: live.connections,
            addresses,
            snat,
        })
    }

    async fn differs(&mut self) {
        self.1.notified().await;
        let mut inside = self.inside();
        inside.snat = inside.found_later.take();
    }

    async fn count(&mut self, services: &[ServiceId]) -> Result<Counts, DataPlaneError> {
        let mut inside = self.inside();
        let mut counts = Counts::new();
        for id in services {
            for (real, connections) in inside.kernel.reals(id)? {
                counts.insert((*id, real.address), connections);
            }
        }
        Ok(counts)
    }

    async fn apply(&mut self, steps: &[Step]) -> Vec<Result<(), DataPlaneError>> {
        let slowness = self.inside().slowness;
        tokio::time::sleep(slowness).await;
        let mut inside = self.inside();
        let mut outcomes = Vec::new();
        for step in steps {
            inside.steps.push(step.clone());
            outcomes.push(match step {
                Step::Ipvs(command) => match inside.kernel.apply(&[*command]) {
                    Ok(mut results) => results.pop().unwrap().map_err(Into::into),
                    Err(error) => Err(error.into()),
                },
                Step::SetSysctl(sysctl) => {
                    inside.sysctls.remove(sysctl);
                    Ok(())
                }
                Step::SetSnat(services) => {
                    inside.snat = Some(services.clone());
                    Ok(())
                }
                Step::AddVip(vip) if inside.neighbours.contains_key(vip) => {
                    let holder = neighbour(&inside.neighbours[vip]);
                    Err(DataPlaneError::Taken { vip: *vip, holder })
                }
                Step::AddVip(vip) => {
                    inside.addresses.present.insert(*vip);
                    inside.addresses.ours.insert(*vip);
                    Ok(())
                }
                Step::RemoveVip(vip) => {
                    inside.addresses.present.remove(vip);
                    inside.addresses.ours.remove(vip);
                    Ok(())
                }
                Step::ForgetFlows(..) | Step::ForgetUnanswered(_) => Ok(()),
            });
        }
        outcomes
    }
}
