//! What is decided anew, and that nothing else had to be.

mod once_more;

use proptest::prelude::*;

use super::*;

const WEB: &str = "web";
const API: &str = "api";
const HOSTS: [&str; 3] = ["198.18.0.11", "198.18.0.30", "192.0.2.7"];
const IN_THE_RANGE: [&str; 3] = [VIP, OTHER, "198.18.0.31:80"];

/// What may happen between two looks.
#[derive(Debug, Clone)]
enum Event {
    /// An instance comes, or changes.
    Instance(usize, u16, Health),
    /// An instance that can't be one: itself a VIP, or of another address family.
    Impossible(usize, bool),
    Gone(usize, u16),
    /// A service asks for a VIP or for two by its tags, asks for nothing any more, or writes what can't be read.
    /// The same of one of its instances.
    Tagged(usize, Option<u16>, Option<Result<usize, ()>>),
    ServiceGone(usize),
    Unread(bool),
    Hint(u16, Option<Phase>),
    Took(usize, u16),
    /// Its node refuses it, or does so no more.
    Refused(usize, u16),
    Nomad(Option<ClientStatus>),
    /// A node is known at that address, maybe at a VIP's.
    Host(usize, usize),
    /// Somebody else has a VIP's address.
    Occupied(bool),
    /// What should be was applied, and is remembered.
    Applied,
    Awaited(bool),
}

const NAMES: [&str; 3] = [WEB, API, "db"];

fn any_event() -> impl Strategy<Value = Event> {
    let name = 0..NAMES.len();
    let health = prop_oneof![
        Just(Health::Passing),
        Just(Health::Warning),
        Just(Health::Critical)
    ];
    let phase = proptest::option::of(prop_oneof![
        Just(Phase::Running),
        Just(Phase::Stopping),
        Just(Phase::Complete)
    ]);
    let client = prop_oneof![Just(ClientStatus::Running), Just(ClientStatus::Lost)];
    let ask = prop_oneof![3 => (0..=IN_THE_RANGE.len()).prop_map(Ok), 1 => Just(Err(()))];
    let port = 1_u16..5;
    prop_oneof![
        8 => (name.clone(), port.clone(), health).prop_map(|(n, p, h)| Event::Instance(n, p, h)),
        1 => (name.clone(), any::<bool>()).prop_map(|(n, looped)| Event::Impossible(n, looped)),
        3 => (name.clone(), port.clone()).prop_map(|(n, p)| Event::Gone(n, p)),
        4 => (name.clone(), proptest::option::of(port.clone()), proptest::option::of(ask))
            .prop_map(|(n, p, a)| Event::Tagged(n, p, a)),
        1 => (name.clone(), 0..HOSTS.len()).prop_map(|(n, h)| Event::Host(n, h)),
        1 => any::<bool>().prop_map(Event::Occupied),
        1 => Just(Event::Applied),
        1 => name.clone().prop_map(Event::ServiceGone),
        1 => any::<bool>().prop_map(Event::Unread),
        4 => (port.clone(), phase).prop_map(|(p, hint)| Event::Hint(p, hint)),
        3 => (name.clone(), port.clone()).prop_map(|(n, p)| Event::Took(n, p)),
        1 => (name, port).prop_map(|(n, p)| Event::Refused(n, p)),
        1 => proptest::option::of(client).prop_map(Event::Nomad),
        1 => any::<bool>().prop_map(Event::Awaited),
    ]
}

/// A case, and what is not in one.
struct World {
    case: Case,
    catalog: Arc<Catalog>,
    warmed: BTreeSet<(ServiceId, SocketAddr)>,
    refusals: Arc<BTreeSet<(ServiceId, SocketAddr)>>,
    hints: HintPhases,
}

impl World {
    fn of(case: Case) -> Self {
        let catalog = Arc::new(case.catalog.clone());
        Self {
            case,
            catalog,
            warmed: BTreeSet::new(),
            refusals: Arc::default(),
            hints: HintPhases::new(),
        }
    }

    fn snapshots(&self) -> Snapshots<'_> {
        let fleet = match &self.case.fleet {
            Some(fleet) => FleetView::Known(fleet),
            None if self.case.awaited => FleetView::Awaited,
            None => FleetView::Absent,
        };
        Snapshots {
            catalog: Some(&self.catalog),
            fleet,
            warmed: &self.warmed,
            refusals: &self.refusals,
            last: &self.case.last,
            hints: &self.hints,
            occupied: &self.case.occupied,
        }
    }

    fn whole(&self) -> Desired {
        desired(&self.snapshots(), &self.case.policy)
    }

    /// What differs from `before`, which holds what there is now afterwards.
    fn renew(&self, before: &mut Desired) -> Scope {
        let (after, scope) = renew(std::mem::take(before), &self.snapshots(), &self.case.policy);
        *before = after;
        scope
    }

    fn service(&mut self, name: &str) -> &mut CatalogService {
        let services = &mut Arc::make_mut(&mut self.catalog).services;
        Arc::make_mut(services.entry(name.into()).or_default())
    }

    fn happen(&mut self, event: &Event) {
        match *event {
            Event::Instance(name, port, health) => {
                let alloc = (port < 3).then_some(u128::from(port));
                let instances = &mut self.service(NAMES[name]).instances;
                // It keeps its tags.
                let current = instances
                    .iter()
                    .position(|instance| instance.address.port() == port)
                    .map(|at| instances.remove(at));
                let neighbours = instances.first();
                let tags = current
                    .as_ref()
                    .or(neighbours)
                    .map(|instance| Arc::clone(&instance.tags));
                instances.push(Instance {
                    checked: port % 2 == 0,
                    tags: tags.unwrap_or_default(),
                    ..instance(port, health, alloc)
                });
                instances.sort_by_key(|instance| instance.address);
            }
            Event::Impossible(name, looped) => {
                let address = if looped { OTHER } else { "[2001:db8:1::1]:4" };
                let instances = &mut self.service(NAMES[name]).instances;
                instances.retain(|instance| instance.address.port() != 4);
                instances.push(Instance {
                    address: address.parse().unwrap(),
                    ..instance(4, Health::Passing, None)
                });
                instances.sort_by_key(|instance| instance.address);
            }
            Event::Gone(name, port) => {
                let instances = &mut self.service(NAMES[name]).instances;
                instances.retain(|instance| instance.address.port() != port);
            }
            Event::Tagged(name, port, ask) => {
                let tags = match ask {
                    Some(Ok(at)) => asking(Ask::Vips(match IN_THE_RANGE.get(at) {
                        Some(at) => vec![vip(at)],
                        None => vec![vip(VIP), vip(OTHER)],
                    })),
                    Some(Err(())) => asking(unreadable()),
                    None => Arc::default(),
                };
                for instance in &mut self.service(NAMES[name]).instances {
                    if port.is_none_or(|port| instance.address.port() == port) {
                        instance.tags = Arc::clone(&tags);
                    }
                }
            }
            Event::ServiceGone(name) => {
                Arc::make_mut(&mut self.catalog)
                    .services
                    .remove(NAMES[name]);
            }
            Event::Unread(unread) => Arc::make_mut(&mut self.catalog).unlisted = unread,
            Event::Hint(port, phase) => {
                let address = instance(port, Health::Passing, None).address;
                match phase {
                    Some(phase) => self.hints.insert(address, phase),
                    None => self.hints.remove(&address),
                };
            }
            Event::Refused(at, port) => {
                let key = (
                    id(IN_THE_RANGE[at]),
                    instance(port, Health::Passing, None).address,
                );
                let refused = Arc::make_mut(&mut self.refusals);
                if !refused.remove(&key) {
                    refused.insert(key);
                }
            }
            Event::Took(at, port) => {
                let key = (
                    id(IN_THE_RANGE[at]),
                    instance(port, Health::Passing, None).address,
                );
                if !self.warmed.remove(&key) {
                    self.warmed.insert(key);
                }
            }
            Event::Nomad(client) => {
                let fleet = client.map(|client| Arc::new(Fleet::new([allocation(1, client)])));
                self.case.fleet = fleet;
            }
            Event::Host(name, at) => {
                let host = (HOSTS[at].parse().unwrap(), "node1".into());
                self.service(NAMES[name]).hosts = vec![host];
            }
            Event::Occupied(occupied) => {
                let link: Arc<str> = "02:00:00:00:00:01".into();
                let holder = (id(OTHER).vip().unwrap(), Holder::Neighbour { link });
                let all = occupied.then_some(holder).into_iter().collect();
                self.case.occupied = Arc::new(all);
            }
            Event::Applied => {
                let desired = self.whole();
                let real = |endpoint: &Endpoint| match endpoint.want {
                    Want::Serve(weight) => Some(RealServer {
                        address: endpoint.address,
                        weight,
                        forwarding: Forwarding::Masquerade,
                        thresholds: Thresholds::default(),
                    }),
                    _ => None,
                };
                let services = desired.services.iter().map(|(id, service)| {
                    let reals = service.endpoints.iter().filter_map(real).collect();
                    (*id, ipvs::VirtualService::new(service.settings, reals))
                });
                let table = services.collect();
                self.case.last.renew(&Scope::Whole, &desired, &table);
            }
            Event::Awaited(awaited) => self.case.awaited = awaited,
        }
    }
}

/// Two services with a VIP, the one from the config file, the other from its tags.
fn two() -> World {
    let web = vec![
        instance(1, Health::Passing, None),
        instance(2, Health::Passing, Some(2)),
    ];
    let api = [3, 8]
        .map(|port| instance(port, Health::Passing, None))
        .to_vec();
    World::of(
        Case::new()
            .configured(WEB, VIP)
            .service(WEB, None, web)
            .service(API, Ask::from(vip(OTHER)), api)
            .last(saved("gone", IN_THE_RANGE[2], &[1])),
    )
}

#[test]
fn what_differs_by_one_or_by_another_differs() {
    let both = only(&[VIP]).and(only(&[OTHER]));
    assert_eq!(both, only(&[VIP, OTHER]));
    assert_eq!(only(&[VIP]).and(Scope::Whole), Scope::Whole);
    assert_eq!(Scope::Whole.and(only(&[VIP])), Scope::Whole);
}

#[test]
fn what_came_from_the_disk_does_not_stay_once_all_is_read() {
    let mut world = two();
    world.happen(&Event::Unread(true));
    let mut desired = world.whole();
    assert_eq!(desired.services.len(), 3);
    world.happen(&Event::Unread(false));
    assert_eq!(world.renew(&mut desired), Scope::Whole);
    assert_eq!(desired.services.len(), 2);
}

#[test]
fn what_was_refused_is_not_refused_for_ever() {
    for looped in [true, false] {
        let mut world = two();
        world.happen(&Event::Impossible(0, looped));
        let mut desired = world.whole();
        assert_eq!(desired.rejected.len(), 1);
        world.service(WEB).instances.pop();
        world.renew(&mut desired);
        assert!(desired.rejected.is_empty());
    }
}

#[test]
fn what_was_rejected_elsewhere_costs_a_change_nothing() {
    let mut world = two();
    world.service("db").instances = vec![Instance {
        tags: asking(unreadable()),
        ..instance(4, Health::Passing, None)
    }];
    let mut desired = world.whole();
    assert_eq!(desired.rejected.len(), 1);
    world.happen(&Event::Instance(0, 1, Health::Critical));
    assert_eq!(world.renew(&mut desired), only(&[VIP]));
    assert_eq!(desired.rejected.len(), 1);
    // And what is rejected of the service itself is as it is now.
    world.service("db").instances[0].tags = Arc::default();
    assert_eq!(world.renew(&mut desired), only(&[]));
    assert!(desired.rejected.is_empty());
}

#[test]
fn a_service_that_comes_last_is_not_overlooked() {
    let mut world = two();
    let mut desired = world.whole();
    world.service("zeta").instances = vec![Instance {
        tags: asking(Ask::from(vip(IN_THE_RANGE[2]))),
        ..instance(7, Health::Passing, None)
    }];
    assert_eq!(world.renew(&mut desired), Scope::Whole);
    Arc::make_mut(&mut world.catalog).services.remove("zeta");
    assert_eq!(world.renew(&mut desired), Scope::Whole);
    world.catalog = Arc::new(Catalog {
        unread: ["zeta".into()].into(),
        ..(*world.catalog).clone()
    });
    assert_eq!(world.renew(&mut desired), Scope::Whole);
}

#[test]
fn a_service_is_known_by_its_name_not_by_where_the_name_is_kept() {
    let mut world = two();
    let mut desired = world.whole();
    let services = &world.catalog.services;
    let anew = services
        .iter()
        .map(|(name, service)| (Arc::from(&**name), Arc::clone(service)));
    world.catalog = Arc::new(Catalog {
        services: anew.collect(),
        ..Catalog::default()
    });
    assert_eq!(world.renew(&mut desired), only(&[]));
}

fn only(vips: &[&str]) -> Scope {
    Scope::Only(vips.iter().map(|vip| id(vip)).collect())
}

/// How much is decided anew after an event, from a world where all is well.
fn after(event: &Event) -> Scope {
    let mut world = two();
    let mut desired = world.whole();
    world.happen(event);
    world.renew(&mut desired)
}

#[test]
fn what_happens_to_one_service_concerns_no_other() {
    assert_eq!(
        after(&Event::Instance(0, 1, Health::Critical)),
        only(&[VIP])
    );
    assert_eq!(after(&Event::Gone(1, 3)), only(&[OTHER]));
    assert_eq!(after(&Event::Hint(2, Some(Phase::Stopping))), only(&[VIP]));
    assert_eq!(after(&Event::Took(1, 3)), only(&[OTHER]));
}

#[test]
fn what_nobody_balances_concerns_nobody() {
    assert_eq!(after(&Event::Hint(4, Some(Phase::Stopping))), only(&[]));
    let mut world = two();
    world.service("db").instances = Vec::new();
    let mut desired = world.whole();
    world.happen(&Event::Instance(2, 4, Health::Passing));
    assert_eq!(world.renew(&mut desired), only(&[]));
}

#[test]
fn what_may_concern_any_service_concerns_all() {
    for event in [
        Event::Nomad(Some(ClientStatus::Running)),
        Event::Awaited(true),
        Event::Tagged(1, None, Some(Ok(2))),
        Event::Tagged(1, None, None),
        Event::Host(0, 0),
        Event::Occupied(true),
        Event::ServiceGone(1),
        Event::Instance(2, 4, Health::Passing),
        Event::Unread(true),
    ] {
        assert_eq!(after(&event), Scope::Whole, "{event:?}");
    }
}

#[test]
fn a_loop_that_appears_is_refused_as_ever() {
    let mut world = two();
    let mut desired = world.whole();
    let looped = Instance {
        address: OTHER.parse().unwrap(),
        ..instance(9, Health::Passing, None)
    };
    world.service(WEB).instances.push(looped);
    assert_eq!(world.renew(&mut desired), Scope::Whole);
    assert_eq!(desired.rejected.len(), 1);
}

proptest! {
    #[test]
    fn whatever_happens_it_comes_to_the_same_as_the_whole(
        events in proptest::collection::vec(any_event(), 1..20)
    ) {
        let mut world = two();
        let mut desired = world.whole();
        for event in &events {
            let before = desired.services.clone();
            world.happen(event);
            let scope = world.renew(&mut desired);
            let whole = world.whole();
            prop_assert_eq!(&desired.services, &whole.services, "{:?}", event);
            prop_assert_eq!(&desired.rejected, &whole.rejected);
            prop_assert_eq!(
                (&desired.hints, desired.awaited, desired.complete),
                (&whole.hints, whole.awaited, whole.complete)
            );
            let Scope::Only(ids) = scope else { continue };
            for (id, service) in &desired.services {
                prop_assert!(ids.contains(id) || before.get(id) == Some(service), "{}", id);
            }
            prop_assert_eq!(before.len(), desired.services.len());
        }
    }
}
