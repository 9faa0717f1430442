//! The join: who gets which VIP, and what becomes of each instance.

mod asks;
mod claims;
mod disk;
mod leaving;
mod occupied;
mod opinions;
mod remembered;
mod renew;
mod safeguards;

use ipvs::{RealServer, Scheduler, Thresholds, Weight};

use super::*;
use crate::model::AllocId;
use crate::model::catalog::{CatalogService, Health, Instance, Origin, Tags};
use crate::model::fleet::{Allocation, ClientStatus, Port, Task, TaskState};
use crate::model::policy::{Ask, Ownership, ServiceBlock, VipPolicy};

const VIP: &str = "198.18.0.29:80";
const OTHER: &str = "198.18.0.30:80";
const OUTSIDE: &str = "192.0.2.1:80";

fn id(vip: &str) -> ServiceId {
    vip.parse().unwrap()
}

fn vip(vip: &str) -> VipPolicy {
    VipPolicy::new(id(vip))
}

fn instance(port: u16, health: Health, alloc: Option<u128>) -> Instance {
    Instance {
        address: SocketAddr::from(([198, 18, 0, 11], port)),
        health,
        checked: true,
        weight_passing: 1,
        weight_warning: 1,
        node: "node1".into(),
        origin: alloc.map(|alloc| Origin {
            alloc: AllocId(alloc),
        }),
        tags: Arc::default(),
    }
}

/// Tags that ask for that.
fn asking(ask: Ask) -> Arc<Tags> {
    let ask = Some(ask);
    Arc::new(Tags {
        ask,
        ..Tags::default()
    })
}

/// Tags that nobody can read.
fn unreadable() -> Ask {
    let why = Rejected::because("unreadable");
    Ask::Unusable { vip: None, why }
}

fn saved(name: &str, at: &str, weights: &[u32]) -> SavedService {
    let real = |(port, weight): (u16, &u32)| RealServer {
        address: SocketAddr::from(([198, 18, 0, 11], port)),
        weight: Weight::saturating(*weight),
        forwarding: Forwarding::Masquerade,
        thresholds: Thresholds::default(),
    };
    SavedService {
        name: name.into(),
        id: id(at),
        settings: ServiceSettings::new("sh".parse().unwrap()),
        forwarding: Forwarding::Masquerade,
        snat: false,
        drain: None,
        safeguards: Safeguards::default(),
        leaving: false,
        reals: Arc::new((1..).zip(weights).map(real).collect()),
    }
}

/// Everything that a case may say.
struct Case {
    catalog: Catalog,
    policy: Policy,
    last: SavedTable,
    fleet: Option<Arc<Fleet>>,
    awaited: bool,
    occupied: Arc<Holders>,
}

impl Case {
    fn new() -> Self {
        Self {
            catalog: Catalog::default(),
            policy: Policy {
                services: BTreeMap::new(),
                ownership: Ownership::of(vec![
                    "198.18.0.0/24".parse().unwrap(),
                    "2001:db8::/64".parse().unwrap(),
                ]),
                drain: Duration::from_mins(1),
                shrink_percent: 50,
            },
            last: SavedTable::default(),
            fleet: None,
            awaited: false,
            occupied: Arc::default(),
        }
    }

    fn configured(mut self, name: &str, at: &str) -> Self {
        self.policy.services.insert(name.into(), vip(at).into());
        self
    }

    fn service(
        mut self,
        name: &str,
        ask: impl Into<Option<Ask>>,
        mut instances: Vec<Instance>,
    ) -> Self {
        if let Some(ask) = ask.into() {
            // Tags are an instance's: of a service without any nobody asks.
            if instances.is_empty() {
                instances.push(instance(99, Health::Critical, None));
            }
            let tags = asking(ask);
            for instance in &mut instances {
                instance.tags = Arc::clone(&tags);
            }
        }
        let service = CatalogService {
            instances,
            ..CatalogService::default()
        };
        self.catalog.services.insert(name.into(), Arc::new(service));
        self
    }

    fn last(mut self, saved: SavedService) -> Self {
        let known = self.last.iter().cloned();
        self.last = known.chain([saved]).collect();
        self
    }

    fn desired(&self) -> Desired {
        let fleet = match &self.fleet {
            Some(fleet) => FleetView::Known(fleet),
            None if self.awaited => FleetView::Awaited,
            None => FleetView::Absent,
        };
        desired(
            &Snapshots {
                catalog: Some(&Arc::new(self.catalog.clone())),
                fleet,
                warmed: &BTreeSet::new(),
                refusals: &Arc::default(),
                last: &self.last,
                hints: &HintPhases::new(),
                occupied: &self.occupied,
            },
            &self.policy,
        )
    }

    /// Each virtual service as `vip name`.
    fn owners(&self) -> Vec<String> {
        let desired = self.desired();
        let owner =
            |(id, service): (&ServiceId, &Arc<DesiredService>)| format!("{id} {}", service.name);
        desired.services.iter().map(owner).collect()
    }

    fn wants(&self) -> Vec<Want> {
        let desired = self.desired();
        let endpoints = desired
            .services
            .values()
            .flat_map(|service| &service.endpoints);
        endpoints.map(|endpoint| endpoint.want).collect()
    }
}

fn allocation(alloc: u128, client: ClientStatus) -> Allocation {
    Allocation {
        id: AllocId(alloc),
        namespace: "default".into(),
        job: "web".into(),
        group: "web".into(),
        node_id: "n".into(),
        node_name: "node1".into(),
        client,
        wanted: true,
        tasks: vec![Task {
            name: "www".into(),
            state: TaskState::Running,
            started: Some("1".into()),
        }],
        ports: vec![Port {
            label: "http".into(),
            address: SocketAddr::from(([198, 18, 0, 11], 1)),
            task: Some("www".into()),
            registered_by_nomad: Some(true),
        }],
        created: 1,
    }
}

#[test]
fn of_two_registrations_of_one_address_the_livelier_counts_and_then_the_one_that_nomad_knows() {
    let mut case = Case::new().configured("web", VIP);
    let fleet = [
        allocation(1, ClientStatus::Complete),
        allocation(2, ClientStatus::Running),
    ];
    case.fleet = Some(Arc::new(Fleet::new(fleet)));
    let leftover = instance(1, Health::Passing, Some(1));
    let living = instance(1, Health::Passing, Some(2));
    for pair in [[leftover.clone(), living.clone()], [living, leftover]] {
        let case = Case {
            fleet: case.fleet.clone(),
            ..Case::new().configured("web", VIP)
        };
        let case = case.service("web", None, pair.to_vec());
        assert_eq!(case.wants(), [Want::Serve(Weight::ONE)]);
        let alloc = case.desired().services[&id(VIP)].endpoints[0].alloc;
        assert_eq!(alloc, Some(AllocId(2)));
    }
}

#[test]
fn a_tag_that_went_bad_keeps_the_last_policy_and_is_told() {
    for ask in [unreadable(), Ask::from(vip(OUTSIDE))] {
        let case = Case::new()
            .service("web", ask, vec![instance(1, Health::Passing, None)])
            .last(saved("web", VIP, &[1]));
        let desired = case.desired();
        let service = &desired.services[&id(VIP)];
        assert_eq!(service.settings.scheduler.as_str(), "sh");
        assert_eq!(
            (service.declared, service.endpoints.len()),
            (Declared::Disk, 1)
        );
        assert_eq!(desired.rejected.len(), 1);
    }
}

#[test]
fn of_two_services_that_ask_for_a_vip_the_one_that_has_it_keeps_it_and_the_alphabet_decides_nothing()
 {
    let both = || {
        Case::new()
            .service("aaa", Ask::from(vip(VIP)), Vec::new())
            .service("web", Ask::from(vip(VIP)), Vec::new())
    };
    assert_eq!(both().owners(), ["tcp://198.18.0.29:80 aaa"]);
    let case = both().last(saved("web", VIP, &[]));
    assert_eq!(case.owners(), ["tcp://198.18.0.29:80 web"]);
    let rejected = case.desired().rejected;
    assert_eq!(&*rejected[0].0, "aaa");
    assert!(
        rejected[0].1.reason.contains("taken by service web"),
        "{rejected:?}"
    );
    let configured = both().configured("zzz", VIP).last(saved("web", VIP, &[]));
    assert_eq!(configured.owners(), ["tcp://198.18.0.29:80 zzz"]);
    assert_eq!(configured.desired().rejected.len(), 2);
}

#[test]
fn whoever_asks_for_a_taken_vip_keeps_the_one_it_had() {
    let case = Case::new()
        .service("aaa", Ask::from(vip(VIP)), Vec::new())
        .service("web", Ask::from(vip(VIP)), Vec::new())
        .last(saved("web", VIP, &[]))
        .last(saved("aaa", OTHER, &[]));
    let owners = ["tcp://198.18.0.29:80 web", "tcp://198.18.0.30:80 aaa"];
    assert_eq!(case.owners(), owners);
}

#[test]
fn what_the_config_file_names_outside_its_own_ranges_is_rejected() {
    let case = Case::new().configured("web", OUTSIDE);
    let desired = case.desired();
    assert!(desired.services.is_empty());
    assert!(desired.rejected[0].1.reason.contains("outside the ranges"));
}

#[test]
fn a_vip_that_is_its_own_real_server_is_refused() {
    let mut looped = instance(80, Health::Passing, None);
    looped.address = VIP.parse().unwrap();
    let sound = instance(1, Health::Passing, None);
    let case = Case::new()
        .configured("web", VIP)
        .service("web", None, vec![sound, looped]);
    let desired = case.desired();
    let endpoints = desired.services[&id(VIP)].endpoints.iter();
    let ports: Vec<u16> = endpoints.map(|one| one.address.port()).collect();
    assert_eq!(ports, [1], "the sound one is left");
    assert!(desired.rejected[0].1.reason.contains("is itself a VIP"));
}

#[test]
fn an_instance_of_another_address_family_is_rejected_and_the_others_serve() {
    let mut six = instance(1, Health::Passing, None);
    six.address = "[2001:db8::1]:1".parse().unwrap();
    let four = instance(2, Health::Passing, None);
    let case = Case::new()
        .configured("web", VIP)
        .service("web", None, vec![four, six]);
    assert_eq!(case.wants(), [Want::Serve(Weight::ONE)]);
    assert!(
        case.desired().rejected[0]
            .1
            .reason
            .contains("address family")
    );
}

#[test]
fn while_nomad_is_awaited_its_instances_and_what_the_catalogue_has_not_are_kept() {
    let nomads = instance(1, Health::Critical, Some(1));
    let other = instance(2, Health::Critical, None);
    let mut case = Case::new()
        .configured("web", VIP)
        .service("web", None, vec![nomads, other]);
    case.awaited = true;
    assert_eq!(case.wants(), [Want::Keep, Want::Quiesce]);
    let gone = SocketAddr::from(([198, 18, 0, 11], 3));
    assert_eq!(case.desired().fate(gone), (Want::Keep, None));
    case.awaited = false;
    assert_eq!(case.desired().fate(gone), (Want::Drain, None));
}

#[test]
fn an_instance_without_a_check_or_that_nomad_does_not_know_has_to_take_a_connection_first() {
    let unchecked = Instance {
        checked: false,
        ..instance(1, Health::Passing, None)
    };
    let unknown = instance(2, Health::Passing, Some(7));
    let mut case =
        Case::new()
            .configured("web", VIP)
            .service("web", None, vec![unchecked, unknown]);
    case.fleet = Some(Arc::default());
    assert_eq!(case.wants(), [Want::Warm(Weight::ONE); 2]);
}

#[test]
fn a_service_that_was_not_read_is_unknown_and_not_empty() {
    let mut case = Case::new()
        .configured("web", VIP)
        .last(saved("web", VIP, &[1, 0]))
        .last(saved("tagged", OTHER, &[1]));
    case.catalog.unread = ["web".into(), "tagged".into()].into();
    let desired = case.desired();
    let of = |vip: &str| &desired.services[&id(vip)];
    assert!(desired.complete && !of(VIP).complete && !of(OTHER).complete);
    assert_eq!(
        case.wants(),
        [
            Want::Serve(Weight::ONE),
            Want::Keep,
            Want::Serve(Weight::ONE)
        ]
    );
    assert_eq!(
        of(VIP).settings.scheduler,
        Scheduler::WRR,
        "the config file is known"
    );
    case.catalog.unread.clear();
    assert_eq!(
        case.owners(),
        ["tcp://198.18.0.29:80 web"],
        "listed without a tag"
    );
    case.catalog.unlisted = true;
    assert_eq!(case.owners().len(), 2);
}
