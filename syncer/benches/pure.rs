//! How long `desired` and `plan` take for tables of growing size: all of it, as at a start, and after one change; and what
//! the shrink guard takes beside them on each pass.
//!
//! `cargo bench -p ipvs-syncer --bench pure`
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark talks to its terminal and knows its input"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipvs::{
    Forwarding, RealServer, Scheduler, ServiceId, ServiceSettings, Table, Thresholds,
    VirtualService, Weight,
};
use syncer_core::desired::{
    Desired, FleetView, HintPhases, SavedTable, Scope, Snapshots, desired, renew,
};
use syncer_core::guard::{Evidence, Losses, guard};
use syncer_core::model::catalog::{Catalog, CatalogService, Health, Instance, Origin};
use syncer_core::model::fleet::{Allocation, ClientStatus, Fleet, Port, Task, TaskState};
use syncer_core::model::policy::{Ownership, Policy, VipPolicy};
use syncer_core::model::{AllocId, Moment};
use syncer_core::plan::{Addresses, Drains, Observed, Plan, Ramps, SnatSet, Sysctls, plan};

const REALS: u32 = 5;
const ROUNDS: usize = 40;

fn main() {
    println!(
        "{:>8} {:>8} {:>12} {:>8} {:>12} {:>12} {:>12}",
        "services", "reals", "whole", "ns/real", "one change", "slowest", "guard"
    );
    for services in [1_250, 2_500, 5_000, 10_000, 20_000] {
        let world = World::new(services);
        let mut whole = Vec::new();
        let mut one = Vec::new();
        let mut guarded = Vec::new();
        for _ in 0..ROUNDS {
            let took = world.passes();
            whole.push(took.whole);
            one.push(took.one);
            guarded.push(took.guard);
        }
        let reals = services * REALS;
        let whole = median(&mut whole);
        let each = whole.as_nanos() / u128::from(reals);
        let (guard, slowest) = (median(&mut guarded), one.iter().max().copied());
        println!(
            "{services:>8} {reals:>8} {whole:>12.2?} {each:>8} {:>12.2?} {:>12.2?} {guard:>12.2?}",
            median(&mut one),
            slowest.unwrap_or_default(),
        );
    }
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

struct Took {
    whole: Duration,
    one: Duration,
    guard: Duration,
}

struct World {
    catalog: Catalog,
    fleet: Arc<Fleet>,
    policy: Policy,
    table: Table,
    snat: SnatSet,
    addresses: Addresses,
}

/// A random-looking id, for Nomad's are random.
fn id(number: u32) -> AllocId {
    let mixed = u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    AllocId(mixed ^ (mixed >> 61))
}

fn real(number: u32) -> SocketAddr {
    let [_, a, b, c] = number.to_be_bytes();
    SocketAddr::from(([10, a, b, c], 20_000))
}

fn vip(number: u32) -> ServiceId {
    let [_, _, a, b] = number.to_be_bytes();
    format!("198.18.{a}.{b}:80").parse().unwrap()
}

impl World {
    fn new(services: u32) -> Self {
        let settings = ServiceSettings::new(Scheduler::WRR);
        let forwarding = Forwarding::Masquerade;
        let mut world = Self {
            catalog: Catalog::default(),
            fleet: Arc::default(),
            policy: Policy {
                services: BTreeMap::new(),
                ownership: Ownership::of(vec!["198.18.0.0/15".parse().unwrap()]),
                drain: Duration::from_mins(1),
                shrink_percent: 50,
            },
            table: Table::default(),
            snat: SnatSet::new(),
            addresses: Addresses::default(),
        };
        let mut allocations = Vec::new();
        for service in 0..services {
            let name: Arc<str> = format!("service-{service}").into();
            let numbers = service * REALS..(service + 1) * REALS;
            allocations.extend(numbers.clone().map(|number| allocation(number, &name)));
            let instances = numbers.clone().map(instance).collect();
            world.catalog.services.insert(
                Arc::clone(&name),
                Arc::new(CatalogService {
                    instances,
                    hosts: vec![([10, 0, 0, 1].into(), "node".into())],
                    left_out: Vec::new(),
                }),
            );
            let id = vip(service);
            let policy = VipPolicy {
                settings,
                forwarding,
                snat: true,
                ..VipPolicy::new(id)
            };
            world.policy.services.insert(name, policy.into());
            let thresholds = Thresholds::default();
            // The change: one real server of one service has another weight than it should.
            let weight = |number| {
                if number == services * REALS / 2 {
                    Weight::ZERO
                } else {
                    Weight::ONE
                }
            };
            let one = |number| RealServer {
                address: real(number),
                weight: weight(number),
                forwarding,
                thresholds,
            };
            world.table.insert(
                id,
                VirtualService::new(settings, numbers.map(one).collect()),
            );
            world.snat.insert(id);
            world.addresses.present.extend(id.vip());
        }
        world.fleet = Arc::new(Fleet::new(allocations));
        world
    }

    /// Everything, as at a start, and then the same instance told anew, as it goes on.
    fn passes(&self) -> Took {
        let warmed = BTreeSet::new();
        let (last, hints) = (SavedTable::default(), HintPhases::new());
        let (occupied, refusals) = (Arc::default(), Arc::default());
        let snapshots = |catalog| Snapshots {
            catalog: Some(catalog),
            fleet: FleetView::Known(&self.fleet),
            warmed: &warmed,
            refusals: &refusals,
            last: &last,
            hints: &hints,
            occupied: &occupied,
        };
        let first = Arc::new(self.catalog.clone());
        let (whole, desired, plan) =
            self.timed(|| (desired(&snapshots(&first), &self.policy), Scope::Whole));
        assert_eq!(plan.steps.len(), 1, "{:?}", plan.steps.first());
        let mut catalog = self.catalog.clone();
        let middle = catalog.services.len() / 2;
        let service = catalog.services.values_mut().nth(middle).unwrap();
        Arc::make_mut(service).instances[0].health = Health::Critical;
        let second = Arc::new(catalog);
        let (one, mut desired, plan) = self.timed(|| {
            let (desired, changed) = renew(desired, &snapshots(&second), &self.policy);
            (desired, plan.next.and(changed))
        });
        assert_eq!(plan.steps.len(), 2, "{:?}", plan.steps.first());
        let evidence = Evidence {
            table: &self.table,
            last: &last,
            catalog: Some(&second),
            confirmations: 0,
            restarts: 0,
        };
        let started = Instant::now();
        let losses = guard(
            &mut desired,
            &evidence,
            &self.policy,
            &Losses::default(),
            Moment(0),
        );
        let guard = started.elapsed();
        assert_eq!(losses, Losses::default());
        Took { whole, one, guard }
    }

    fn timed(&self, desire: impl FnOnce() -> (Desired, Scope)) -> (Duration, Desired, Plan) {
        let (connections, drains) = (BTreeMap::new(), Drains::default());
        let observed = Observed {
            table: &self.table,
            applied: &SavedTable::default(),
            connections: &connections,
            ramps: &Ramps::new(),
            addresses: &self.addresses,
            snat: Some(&self.snat),
            snat_lost: false,
            sysctls: &Sysctls::new(),
        };
        let ownership = &self.policy.ownership;
        let started = Instant::now();
        let (desired, scope) = desire();
        let plan = plan(&desired, &observed, &drains, ownership, &scope, Moment(0));
        (started.elapsed(), desired, plan)
    }
}

fn instance(number: u32) -> Instance {
    Instance {
        address: real(number),
        health: Health::Passing,
        checked: true,
        weight_passing: 1,
        weight_warning: 1,
        node: "node".into(),
        origin: Some(Origin { alloc: id(number) }),
        tags: Arc::default(),
    }
}

fn allocation(number: u32, job: &Arc<str>) -> Allocation {
    Allocation {
        id: id(number),
        namespace: "default".into(),
        job: Arc::clone(job),
        group: "group".into(),
        node_id: "node".into(),
        node_name: "node".into(),
        client: ClientStatus::Running,
        wanted: true,
        tasks: vec![Task {
            name: "www".into(),
            state: TaskState::Running,
            started: Some("1".into()),
        }],
        ports: vec![Port {
            label: "http".into(),
            address: real(number),
            task: Some("www".into()),
            registered_by_nomad: Some(true),
        }],
        created: u64::from(number),
    }
}
