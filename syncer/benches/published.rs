//! What lookers cost the loop: how long its passes over one change take while nobody looks, while the figures are scraped
//! without a pause, and while a hundred withdrawals wait for open connections, at 10 000 virtual services of 5 real servers.
//!
//! `cargo bench -p ipvs-syncer --bench published`
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark talks to its terminal and knows its input"
)]

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ipvs::{Command, Connections, KernelRefusal, ServiceId, Table};
use ipvs_syncer::admin::{Admin, Count, DirectorView};
use ipvs_syncer::dataplane::{DataPlane, DataPlaneError};
use ipvs_syncer::hints::Barrier;
use ipvs_syncer::offer::Offers;
use ipvs_syncer::reconcile::{Inputs, Reconciler};
use ipvs_syncer::source::Published;
use ipvs_syncer::source::driver::{Board, Hint, Speaker};
use ipvs_syncer::status::metrics;
use ipvs_syncer::store::Store;
use syncer_core::model::AllocId;
use syncer_core::model::catalog::{Catalog, CatalogService, Health, Instance, Origin};
use syncer_core::model::fleet::{Allocation, ClientStatus, Fleet, Port, Task, TaskState};
use syncer_core::model::policy::{Ownership, Policy, VipPolicy};
use syncer_core::pass::PassState;
use syncer_core::plan::{Addresses, SnatSet, Step};
use syncer_core::reading::{Counts, Reading};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

const SERVICES: u32 = 10_000;
const REALS: u32 = 5;
const ROUNDS: u32 = 60;
const WITHDRAWALS: u32 = 100;

/// A data plane in memory.
#[derive(Default)]
struct Memory {
    table: Table,
    addresses: Addresses,
    snat: SnatSet,
}

impl DataPlane for Memory {
    async fn read(&mut self, _: &Table) -> Result<Reading, DataPlaneError> {
        Ok(Reading {
            table: self.table.clone(),
            counts: Counts::new(),
            addresses: self.addresses.clone(),
            snat: Some(self.snat.clone()),
            ..Reading::default()
        })
    }

    async fn count(&mut self, _: &[ServiceId]) -> Result<Counts, DataPlaneError> {
        Ok(Counts::new())
    }

    async fn apply(&mut self, steps: &[Step]) -> Vec<Result<(), DataPlaneError>> {
        let mut apply = |command: &Command| {
            let command = *command;
            let applied = self.table.apply(&command);
            applied.map_err(|errno| KernelRefusal { command, errno }.into())
        };
        let done = steps.iter().map(|step| match step {
            Step::Ipvs(command) => apply(command),
            _ => Ok(()),
        });
        done.collect()
    }
}

fn vip(service: u32) -> ServiceId {
    let [_, _, a, b] = service.to_be_bytes();
    format!("198.18.{a}.{b}:80").parse().unwrap()
}

fn address(number: u32) -> SocketAddr {
    let [_, a, b, c] = number.to_be_bytes();
    SocketAddr::from(([10, a, b, c], 20_000))
}

fn service(service: u32, first: Health) -> Arc<CatalogService> {
    let numbers = service * REALS..(service + 1) * REALS;
    let instance = |number: u32| Instance {
        address: address(number),
        health: if number.is_multiple_of(REALS) {
            first
        } else {
            Health::Passing
        },
        checked: true,
        weight_passing: 1,
        weight_warning: 1,
        node: "node".into(),
        origin: Some(Origin {
            alloc: AllocId(u128::from(number)),
        }),
        tags: Arc::default(),
    };
    Arc::new(CatalogService {
        instances: numbers.map(instance).collect(),
        ..CatalogService::default()
    })
}

fn name(service: u32) -> Arc<str> {
    format!("service-{service}").into()
}

fn allocation(number: u32) -> Allocation {
    Allocation {
        id: AllocId(u128::from(number)),
        namespace: "default".into(),
        job: name(number / REALS),
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
            address: address(number),
            task: Some("www".into()),
            registered_by_nomad: Some(true),
        }],
        created: u64::from(number),
    }
}

fn policy() -> Policy {
    let policy = |number| {
        let policy = VipPolicy::new(vip(number));
        (name(number), policy.into())
    };
    Policy {
        services: (0..SERVICES).map(policy).collect(),
        ownership: Ownership::of(vec!["198.18.0.0/15".parse().unwrap()]),
        drain: Duration::from_mins(10),
        shrink_percent: 50,
    }
}

/// A loop that runs, and what there is around it.
struct World {
    catalog: watch::Sender<Published<Catalog>>,
    passes: watch::Receiver<Arc<PassState>>,
    admin: Admin,
    barrier: Barrier,
}

impl World {
    async fn start(state: &std::path::Path, stop: CancellationToken) -> Self {
        let services: BTreeMap<_, _> = (0..SERVICES)
            .map(|number| (name(number), service(number, Health::Passing)))
            .collect();
        let catalog = Catalog {
            services,
            ..Catalog::default()
        };
        let published = Published {
            view: Some(Arc::new(catalog)),
            ..Published::default()
        };
        let (catalog, catalogs) = watch::channel(published);
        let fleet = Published {
            view: Some(Arc::new(Fleet::new((0..SERVICES * REALS).map(allocation)))),
            ..Published::default()
        };
        let (_, fleet) = watch::channel(fleet);
        let board = Board::default();
        let inputs = Inputs {
            catalog: catalogs,
            fleet: Some(fleet.clone()),
            confirm: mpsc::channel(1).0,
            sources: watch::channel(Arc::default()).1,
            board: board.clone(),
            offers: Offers::default(),
        };
        let (store, memory) = Store::open(state).unwrap();
        let audit = Duration::from_hours(1);
        let reconciler = Reconciler::new(Memory::default(), policy(), audit, inputs, store, memory);
        let count: Count = Arc::new(|ids: Vec<ServiceId>| {
            let busy = Connections {
                active: 1,
                ..Connections::default()
            };
            let all = ids.into_iter().flat_map(move |id| {
                let Some(IpAddr::V4(vip)) = id.vip() else {
                    unreachable!("all are of IPv4");
                };
                let number = vip.to_bits() & 0xffff;
                let numbers = number * REALS..(number + 1) * REALS;
                numbers.map(move |number| ((id, address(number)), busy))
            });
            Box::pin(async move { all.collect() })
        });
        let admin = Admin {
            started: tokio::time::Instant::now(),
            consul: (String::new(), None),
            nomad: None,
            director: Some(DirectorView::of(&reconciler, Arc::clone(&count))),
            registrar: None,
            real_server: None,
            leases: None,
            warnings: watch::channel(Vec::new()).1,
        };
        let mut passes = reconciler.passes();
        let barrier = Barrier {
            board,
            fleet,
            passes: passes.clone(),
            count,
            offers: Offers::default(),
        };
        tokio::spawn(reconciler.run(stop));
        passes.wait_for(|state| state.complete).await.unwrap();
        Self {
            catalog,
            passes,
            admin,
            barrier,
        }
    }

    /// One instance of one service after the other turns critical, and passing again; how long each pass took.
    async fn changes(&mut self) -> Vec<Duration> {
        let mut took = Vec::new();
        for round in 0..ROUNDS {
            let number = SERVICES / 2 + round / 2;
            let health = [Health::Critical, Health::Passing][round as usize % 2];
            self.passes.borrow_and_update();
            self.catalog.send_modify(|published| {
                let mut catalog = Catalog::clone(published.view.as_ref().unwrap());
                catalog
                    .services
                    .insert(name(number), service(number, health));
                published.view = Some(Arc::new(catalog));
            });
            let id = vip(number);
            let weight = u32::from(health == Health::Passing);
            let state = self.passes.wait_for(|state| {
                let real = |state: &PassState| {
                    let service = state.services.get(&id)?.actual.as_ref()?;
                    Some(service.reals().first()?.weight.get())
                };
                real(state) == Some(weight)
            });
            took.push(state.await.unwrap().pass.unwrap().took);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        took
    }
}

fn line(what: &str, mut took: Vec<Duration>, beside: &str) {
    took.sort_unstable();
    let at = |share: usize| took[(took.len() * share / 100).min(took.len() - 1)];
    println!(
        "{what:>28} {:>12.2?} {:>12.2?} {:>12.2?}   {beside}",
        at(50),
        at(90),
        at(99)
    );
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let (folder, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
    let mut world = World::start(folder.path(), stop.clone()).await;
    println!(
        "{:>28} {:>12} {:>12} {:>12}",
        "passes of one change while", "p50", "p90", "p99"
    );
    world.changes().await;
    line("nobody looks", world.changes().await, "");

    let (going, scrapes) = (
        Arc::new(AtomicBool::new(true)),
        Arc::new(AtomicUsize::new(0)),
    );
    let (goes, scraped, admin) = (
        Arc::clone(&going),
        Arc::clone(&scrapes),
        world.admin.clone(),
    );
    // As the status address does: on a thread that is not the loop's.
    let scraper = tokio::task::spawn_blocking(move || {
        let started = Instant::now();
        while goes.load(Ordering::SeqCst) {
            assert!(metrics(&admin.status(&Counts::new())).len() > 1_000_000);
            scraped.fetch_add(1, Ordering::SeqCst);
        }
        started.elapsed()
    });
    let took = world.changes().await;
    going.store(false, Ordering::SeqCst);
    let scraping = scraper.await.unwrap();
    let count = u32::try_from(scrapes.load(Ordering::SeqCst)).unwrap();
    let beside = format!("{count} scrapes of {:.2?} each", scraping / count.max(1));
    line("the figures are scraped", took, &beside);

    let mut waiting = tokio::task::JoinSet::new();
    for number in 0..WITHDRAWALS {
        let barrier = world.barrier.clone();
        waiting.spawn(async move {
            let (alloc, limit) = (AllocId(u128::from(number)), Duration::from_mins(5));
            let anybody = &Speaker::Anybody;
            barrier
                .take(anybody, alloc, "www", Hint::Withdrawn, limit)
                .await
        });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let took = world.changes().await;
    let beside = format!("{} wait, each looks 20 times a second", waiting.len());
    line("withdrawals wait", took, &beside);
    stop.cancel();
}
