//! What a director looks at, and whatever may happen to it between two looks.

use proptest::prelude::*;

use super::*;

const HOSTS: [&str; 3] = ["198.18.0.11", "198.18.0.30", "192.0.2.7"];
pub(super) const IN_THE_RANGE: [&str; 3] = [VIP, OTHER, "198.18.0.31:80"];

/// What may happen between two looks.
#[derive(Debug, Clone)]
pub(super) enum Event {
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

pub(super) fn any_event() -> impl Strategy<Value = Event> {
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
pub(super) struct World {
    pub(super) case: Case,
    pub(super) catalog: Arc<Catalog>,
    pub(super) warmed: BTreeSet<(ServiceId, SocketAddr)>,
    pub(super) refusals: Arc<BTreeSet<(ServiceId, SocketAddr)>>,
    pub(super) hints: HintPhases,
}

impl World {
    pub(super) fn of(case: Case) -> Self {
        let catalog = Arc::new(case.catalog.clone());
        Self {
            case,
            catalog,
            warmed: BTreeSet::new(),
            refusals: Arc::default(),
            hints: HintPhases::new(),
        }
    }

    pub(super) fn snapshots(&self) -> Snapshots<'_> {
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

    pub(super) fn whole(&self) -> Desired {
        desired(&self.snapshots(), &self.case.policy)
    }

    /// What differs from `before`, which holds what there is now afterwards.
    pub(super) fn renew(&self, before: &mut Desired) -> Scope {
        let (after, scope) = renew(std::mem::take(before), &self.snapshots(), &self.case.policy);
        *before = after;
        scope
    }

    pub(super) fn service(&mut self, name: &str) -> &mut CatalogService {
        let services = &mut Arc::make_mut(&mut self.catalog).services;
        Arc::make_mut(services.entry(name.into()).or_default())
    }

    pub(super) fn happen(&mut self, event: &Event) {
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
