//! What must hold while the world is not healed: after every event, and for every whole pass.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use ipvs::{Command, Table, VirtualService};
use syncer_core::model::catalog::Health;
use syncer_core::model::fleet::Phase;
use syncer_core::plan::{Plan, Step};

use super::{World, foreign, vip};
use crate::truth::{SERVICES, over};

impl World {
    /// What holds after every event.
    pub(super) fn promises(&self) {
        assert_eq!(
            self.machine.kernel.table.get(&foreign()),
            Some(&self.foreign),
            "theirs was touched"
        );
    }

    /// What holds for every whole pass: a real server that is known to both to serve is not taken away, nor is one that
    /// only a wiped catalogue misses.
    pub(super) fn judge(&self, before: &Table, plan: &Plan) {
        let (Some(fleet), Some(catalog)) = (&self.daemon.fleet, &self.daemon.catalog) else {
            let removes = |step: &&Step| {
                matches!(
                    step,
                    Step::Ipvs(Command::RemoveReal(..) | Command::RemoveService(_))
                )
            };
            if self.daemon.catalog.is_none() {
                assert!(
                    !plan.steps.iter().any(|step| removes(&step)),
                    "removed unread: {:?}",
                    plan.steps
                );
            }
            return;
        };
        for (service, name) in SERVICES.iter().enumerate() {
            let known: BTreeSet<SocketAddr> = catalog.services[*name]
                .instances
                .iter()
                .filter(|one| {
                    let alloc = one
                        .origin
                        .as_ref()
                        .and_then(|origin| fleet.get(origin.alloc));
                    let runs = alloc.is_some_and(|a| a.phase(one.address) == Phase::Running);
                    one.health == Health::Passing && runs
                })
                .map(|one| one.address)
                .collect();
            let id = vip(service);
            let Some(there) = before.get(&id) else {
                continue;
            };
            for real in there
                .reals()
                .iter()
                .filter(|real| real.weight.serves() && known.contains(&real.address))
            {
                let after = self
                    .machine
                    .kernel
                    .table
                    .get(&id)
                    .and_then(|service| service.real(real.address));
                assert!(
                    after.is_some_and(|after| after.weight.serves()),
                    "{name} {} was taken away",
                    real.address
                );
            }
        }
        let empty = catalog
            .services
            .values()
            .all(|service| service.instances.is_empty());
        for (id, service) in before
            .iter()
            .filter(|(id, _)| **id != foreign() && empty && self.daemon.hold().is_some())
        {
            for real in service.reals().iter().filter(|real| real.weight.serves()) {
                let runs = fleet.at(real.address).is_some_and(|alloc| {
                    alloc.wanted && !over(alloc) && alloc.phase(real.address) == Phase::Running
                });
                let after = self
                    .machine
                    .kernel
                    .table
                    .get(id)
                    .and_then(|service| service.real(real.address));
                assert!(
                    !runs || after.is_some_and(|after| after.weight.serves()),
                    "{id} {} was lost",
                    real.address
                );
            }
        }
    }

    /// A service whose every real server runs, says Nomad, does not lose the last of them to a catalogue that forgot.
    pub(super) fn judge_losses(&self, before: &Table) {
        let (Some(fleet), Some(catalog)) = (&self.daemon.fleet, &self.daemon.catalog) else {
            return;
        };
        for (service, name) in SERVICES.iter().enumerate() {
            let reals = |table: &Table| -> Vec<SocketAddr> {
                let there = table.get(&vip(service)).map(VirtualService::reals);
                let serving = there.unwrap_or_default().iter();
                let serving = serving.filter(|real| real.weight.serves());
                serving.map(|real| real.address).collect()
            };
            let forgotten = |address: &SocketAddr| {
                let alloc = fleet.at(*address);
                let runs = alloc.is_some_and(|alloc| alloc.phase(*address) == Phase::Running);
                let mut instances = catalog.services[*name].instances.iter();
                // An allocation of another service that has the port by now was not forgotten.
                let elsewhere = catalog.services.values().any(|service| {
                    let mut instances = service.instances.iter();
                    instances.any(|one| {
                        let origin = one.origin.as_ref().map(|origin| origin.alloc);
                        one.address == *address && origin == alloc.map(|alloc| alloc.id)
                    })
                });
                runs && !elsewhere && !instances.any(|one| one.address == *address)
            };
            let serving = reals(before);
            if !serving.is_empty() && serving.iter().all(forgotten) {
                let left = reals(&self.machine.kernel.table);
                assert!(!left.is_empty(), "{name} lost all: {serving:?}");
            }
        }
    }
}
