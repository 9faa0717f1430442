//! What is true of Nomad and Consul, whoever knows it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use syncer_core::model::AllocId;
use syncer_core::model::catalog::{Catalog, CatalogService, Health, Instance, Origin};
use syncer_core::model::fleet::{Allocation, ClientStatus, Fleet, Port, Task, TaskState};

use super::random::Random;

pub(crate) const SERVICES: [&str; 3] = ["alpha", "beta", "gamma"];
const PORTS: usize = 14;

/// One registration, in `service`.
#[derive(Debug, Clone)]
pub(crate) struct Registration {
    pub(crate) service: usize,
    pub(crate) instance: Instance,
}

#[derive(Debug, Default)]
pub(crate) struct Truth {
    pub(crate) allocations: BTreeMap<AllocId, (usize, Allocation)>,
    pub(crate) registrations: Vec<Registration>,
    /// A Consul that was started again empty: until Nomad registers anew.
    pub(crate) wiped: bool,
    confirmations: u64,
    created: u64,
}

pub(crate) fn address(port: usize) -> SocketAddr {
    format!("198.18.0.11:{}", 20_000 + port).parse().unwrap()
}

impl Truth {
    /// One thing happens; says what.
    pub(crate) fn happen(&mut self, random: &mut Random) -> String {
        match random.below(14) {
            0..=2 => self.place(random),
            3..=4 => self.of_random(
                random,
                |client, _| client == ClientStatus::Pending,
                "starts",
                |one| {
                    one.client = ClientStatus::Running;
                    one.tasks[0] = Task {
                        name: "www".into(),
                        state: TaskState::Running,
                        started: Some("1".into()),
                    };
                },
            ),
            5 => self.of_random(
                random,
                |client, _| client == ClientStatus::Running,
                "crashes",
                |one| {
                    one.tasks[0].state = TaskState::Pending;
                },
            ),
            6 => self.of_random(
                random,
                |client, _| client == ClientStatus::Running,
                "runs again",
                |one| {
                    one.tasks[0].state = TaskState::Running;
                },
            ),
            7 => self.of_random(
                random,
                |_, over| !over,
                "is to stop",
                |one| one.wanted = false,
            ),
            8..=9 => {
                let to = *random
                    .pick(&[
                        ClientStatus::Complete,
                        ClientStatus::Failed,
                        ClientStatus::Lost,
                    ])
                    .unwrap();
                self.of_random(
                    random,
                    |_, over| !over,
                    &format!("is {to:?}"),
                    |one| one.client = to,
                )
            }
            10 => self.of_random(
                random,
                |client, _| client == ClientStatus::Running,
                "is unknown",
                |one| {
                    one.client = ClientStatus::Unknown;
                },
            ),
            11 => {
                let old: Vec<AllocId> = self
                    .allocations
                    .iter()
                    .filter(|(_, (_, one))| over(one))
                    .map(|(id, _)| *id)
                    .collect();
                let Some(id) = random.pick(&old) else {
                    return String::new();
                };
                self.allocations.remove(id);
                format!("{id} is collected")
            }
            12 => self.register(random),
            _ => self.check(random),
        }
    }

    fn of_random(
        &mut self,
        random: &mut Random,
        which: impl Fn(ClientStatus, bool) -> bool,
        what: &str,
        change: impl FnOnce(&mut Allocation),
    ) -> String {
        let fitting: Vec<AllocId> = self
            .allocations
            .iter()
            .filter(|(_, (_, one))| which(one.client, over(one)))
            .map(|(id, _)| *id)
            .collect();
        let Some(id) = random.pick(&fitting) else {
            return String::new();
        };
        let (service, one) = self.allocations.get_mut(id).unwrap();
        change(one);
        let (service, one) = (*service, one.clone());
        self.follow(service, &one, random);
        format!("{id} {what}")
    }

    /// Nomad's client keeps Consul in step with its allocations, mostly.
    fn follow(&mut self, service: usize, one: &Allocation, random: &mut Random) {
        let serves = one.client == ClientStatus::Running
            && one.wanted
            && one.tasks[0].state == TaskState::Running;
        let here = |registration: &Registration| {
            registration
                .instance
                .origin
                .as_ref()
                .is_some_and(|o| o.alloc == one.id)
        };
        if !serves && one.client != ClientStatus::Unknown && !random.one_in(8) {
            self.registrations
                .retain(|registration| !here(registration));
        } else if serves && !self.wiped && !self.registrations.iter().any(here) {
            let checked = !random.one_in(3);
            let instance = instance(one.ports[0].address, Some(one.id), checked);
            self.registrations.push(Registration { service, instance });
        }
    }

    fn place(&mut self, random: &mut Random) -> String {
        let port = random.below(PORTS);
        let address = address(port);
        let taken = self
            .allocations
            .values()
            .any(|(_, one)| !over(one) && one.ports[0].address == address);
        let strange = self
            .registrations
            .iter()
            .any(|one| one.instance.address == address && one.instance.origin.is_none());
        if taken || strange {
            return String::new();
        }
        if self.allocations.len() > 40 {
            let old = self
                .allocations
                .iter()
                .find(|(_, (_, one))| over(one))
                .map(|(id, _)| *id);
            old.and_then(|id| self.allocations.remove(&id));
        }
        self.created += 1;
        let service = random.below(SERVICES.len());
        let id = AllocId(u128::from(self.created));
        let name: Arc<str> = SERVICES[service].into();
        let one = Allocation {
            id,
            namespace: "default".into(),
            job: name,
            group: "group".into(),
            node_id: "n".into(),
            node_name: "node".into(),
            client: ClientStatus::Pending,
            wanted: true,
            tasks: vec![Task {
                name: "www".into(),
                state: TaskState::Pending,
                started: None,
            }],
            ports: vec![Port {
                label: "http".into(),
                address,
                task: Some("www".into()),
                registered_by_nomad: Some(true),
            }],
            created: self.created,
        };
        self.allocations.insert(id, (service, one));
        format!("{id} of {} is placed at {address}", SERVICES[service])
    }

    /// Somebody registers or removes what is not from Nomad, or a registration is lost.
    fn register(&mut self, random: &mut Random) -> String {
        let address = address(random.below(PORTS));
        let owned = self
            .allocations
            .values()
            .any(|(_, one)| one.ports[0].address == address);
        if random.one_in(3) && !owned && !self.wiped {
            let service = random.below(SERVICES.len());
            self.registrations
                .retain(|one| one.instance.address != address);
            self.registrations.push(Registration {
                service,
                instance: instance(address, None, true),
            });
            return format!("{address} is registered by hand in {}", SERVICES[service]);
        }
        let before = self.registrations.len();
        if random.one_in(2) {
            self.registrations
                .retain(|one| one.instance.address != address);
        }
        if before == self.registrations.len() {
            String::new()
        } else {
            format!("{address} is deregistered")
        }
    }

    fn check(&mut self, random: &mut Random) -> String {
        let health = *random
            .pick(&[
                Health::Passing,
                Health::Passing,
                Health::Warning,
                Health::Critical,
                Health::Maintenance,
            ])
            .unwrap();
        let count = self.registrations.len();
        if count == 0 {
            return String::new();
        }
        let one = &mut self.registrations[random.below(count)].instance;
        one.health = health;
        format!("{} is {health:?}", one.address)
    }

    pub(crate) fn wipe(&mut self) {
        self.registrations.clear();
        self.wiped = true;
    }

    /// Nomad's client registers all that it runs.
    pub(crate) fn register_anew(&mut self, random: &mut Random) {
        self.wiped = false;
        let all: Vec<(usize, Allocation)> = self.allocations.values().cloned().collect();
        for (service, one) in all {
            self.follow(service, &one, random);
        }
    }

    pub(crate) fn confirm(&mut self) {
        self.confirmations += 1;
    }

    pub(crate) fn fleet(&self) -> Fleet {
        Fleet::new(self.allocations.values().map(|(_, one)| one.clone()))
    }

    pub(crate) fn catalog(&self) -> Catalog {
        let mut catalog = Catalog {
            confirmations: self.confirmations,
            ..Catalog::default()
        };
        for (number, name) in SERVICES.iter().enumerate() {
            let of_service = self
                .registrations
                .iter()
                .filter(|one| one.service == number);
            let mut instances: Vec<Instance> = of_service.map(|one| one.instance.clone()).collect();
            instances.sort_by_key(|one| one.address);
            catalog.services.insert(
                (*name).into(),
                Arc::new(CatalogService {
                    instances,
                    ..CatalogService::default()
                }),
            );
        }
        catalog
    }
}

pub(crate) fn over(one: &Allocation) -> bool {
    matches!(
        one.client,
        ClientStatus::Complete | ClientStatus::Failed | ClientStatus::Lost
    )
}

fn instance(address: SocketAddr, alloc: Option<AllocId>, checked: bool) -> Instance {
    Instance {
        address,
        health: Health::Passing,
        checked,
        weight_passing: 10,
        weight_warning: 3,
        node: "node".into(),
        origin: alloc.map(|alloc| Origin { alloc }),
        tags: Arc::default(),
    }
}
