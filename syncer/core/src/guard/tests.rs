//! The guard before a table of ten services, one real server each.

mod data_loss;
mod elsewhere;
mod held;
mod share;

use std::sync::Arc;

use ipvs::{Forwarding, Scheduler, ServiceSettings, Thresholds, VirtualService, Weight};

use super::hold::CONFIRMING_READS;
use super::*;
use crate::desired::{Declared, DesiredService, Endpoint, Want};
use crate::model::AllocId;
use crate::model::fleet::{Allocation, ClientStatus, Fleet, Port, Task, TaskState};
use crate::model::policy::Ownership;
use crate::model::safeguard::Safeguards;

const SERVICES: u16 = 10;

fn id(service: u16) -> ServiceId {
    format!("198.18.0.29:{}", 80 + service).parse().unwrap()
}

fn address(service: u16) -> SocketAddr {
    format!("198.18.0.11:{}", 20_000 + service).parse().unwrap()
}

fn policy() -> Policy {
    Policy {
        services: BTreeMap::new(),
        ownership: Ownership::of(vec!["198.18.0.0/24".parse().unwrap()]),
        drain: Duration::from_mins(1),
        shrink_percent: 50,
    }
}

fn table() -> Table {
    let one = |service| {
        let real = RealServer {
            address: address(service),
            weight: Weight::ONE,
            forwarding: Forwarding::Masquerade,
            thresholds: Thresholds::default(),
        };
        let settings = ServiceSettings::new(Scheduler::WRR);
        (id(service), VirtualService::new(settings, vec![real]))
    };
    (0..SERVICES).map(one).collect()
}

/// Nomad says that all of them run.
fn running() -> Arc<Fleet> {
    let one = |service: u16| Allocation {
        id: AllocId(u128::from(service)),
        namespace: "default".into(),
        job: format!("job-{service}").into(),
        group: "web".into(),
        node_id: "n".into(),
        node_name: "node1".into(),
        client: ClientStatus::Running,
        wanted: true,
        tasks: vec![Task {
            name: "www".into(),
            state: TaskState::Running,
            started: Some("1".into()),
        }],
        ports: vec![Port {
            label: "http".into(),
            address: address(service),
            task: Some("www".into()),
            registered_by_nomad: Some(true),
        }],
        created: 1,
    };
    Arc::new(Fleet::new((0..SERVICES).map(one)))
}

/// The catalogue has `present` of them.
fn desired(present: impl Fn(u16) -> bool, fleet: Option<Arc<Fleet>>) -> Desired {
    let service = |service: u16| {
        let endpoint = Endpoint {
            address: address(service),
            want: Want::Serve(Weight::ONE),
            phase: None,
            health: None,
            alloc: None,
            held: false,
        };
        let wanted = DesiredService {
            name: format!("service-{service}").into(),
            settings: ServiceSettings::new(Scheduler::WRR),
            forwarding: Forwarding::Masquerade,
            snat: false,
            drain: Duration::from_mins(1),
            safeguards: Safeguards::default(),
            declared: Declared::Config,
            complete: true,
            endpoints: present(service).then_some(endpoint).into_iter().collect(),
        };
        (id(service), Arc::new(wanted))
    };
    Desired {
        services: (0..SERVICES).map(service).collect(),
        complete: true,
        fleet,
        ..Desired::default()
    }
}

/// What happens to a kernel that does what it is told, pass by pass.
struct Day {
    table: Table,
    losses: Losses,
    confirmations: u64,
    restarts: u64,
    now: Moment,
}

impl Day {
    fn new() -> Self {
        Self {
            table: table(),
            losses: Losses::default(),
            confirmations: 0,
            restarts: 0,
            now: Moment(1_000_000),
        }
    }

    fn pass(&mut self, mut desired: Desired) {
        let evidence = Evidence {
            table: &self.table,
            last: &SavedTable::default(),
            catalog: None,
            confirmations: self.confirmations,
            restarts: self.restarts,
        };
        self.losses = guard(&mut desired, &evidence, &policy(), &self.losses, self.now);
        for service in 0..SERVICES {
            if desired.services[&id(service)].endpoints.is_empty() {
                let settings = ServiceSettings::new(Scheduler::WRR);
                self.table
                    .insert(id(service), VirtualService::new(settings, Vec::new()));
            }
        }
    }

    fn later(&mut self, milliseconds: u64) {
        self.now = self.now.after(Duration::from_millis(milliseconds));
    }

    fn serving(&self) -> usize {
        self.table
            .iter()
            .map(|(_, service)| service.reals().len())
            .sum()
    }
}

#[test]
fn a_catalogue_that_empties_service_by_service_loses_its_share_and_no_more() {
    let mut day = Day::new();
    for gone in 1..=SERVICES {
        day.pass(desired(|service| service >= gone, None));
        day.later(10);
    }
    assert_eq!(day.serving(), 5);
    assert!(day.losses.hold.is_some());
    day.pass(desired(|_| true, None));
    assert_eq!(day.losses, Losses::default(), "it is back");
}

#[test]
fn a_service_that_loses_all_it_has_while_nomad_says_it_runs_is_held() {
    let mut day = Day::new();
    day.pass(desired(|service| service > 0, Some(running())));
    assert_eq!(day.serving(), 10);
    let hold = day.losses.hold.as_ref().unwrap();
    assert!(hold.contradicted && hold.lost == 1);
    for _ in 0..30 {
        day.confirmations += 1;
        day.later(5_000);
        day.pass(desired(|service| service > 0, Some(running())));
    }
    assert_eq!(day.serving(), 9, "patience has an end");
}

#[test]
fn of_what_nomad_does_not_know_two_reads_some_time_apart_are_enough() {
    let mut day = Day::new();
    let empty = || desired(|_| false, None);
    day.pass(empty());
    for _ in 0..20 {
        day.later(100);
        day.confirmations += 1;
        day.pass(empty());
    }
    assert_eq!(day.serving(), 10, "many reads in two seconds are one");
    day.later(CONFIRMATION_SPACING.as_millis().try_into().unwrap());
    day.pass(empty());
    assert_eq!(day.serving(), 10, "time alone confirms nothing");
    day.confirmations += 1;
    day.pass(empty());
    assert_eq!(day.serving(), 0);
    day.pass(empty());
    assert_eq!(day.losses.hold, None);
}

#[test]
fn while_nomad_is_awaited_nothing_is_lost() {
    let mut day = Day::new();
    for _ in 0..100 {
        let mut all = desired(|_| false, None);
        all.awaited = true;
        assert_eq!(all.fate(address(0)).0, Want::Keep);
        day.confirmations += 1;
        day.later(5_000);
        let evidence = Evidence {
            table: &day.table,
            last: &SavedTable::default(),
            catalog: None,
            confirmations: day.confirmations,
            restarts: 0,
        };
        day.losses = guard(&mut all, &evidence, &policy(), &day.losses, day.now);
        assert_eq!(day.losses, Losses::default());
    }
}

#[test]
fn a_service_that_was_not_read_has_lost_nothing() {
    let mut all = desired(|_| false, None);
    for service in all.services.values_mut() {
        Arc::make_mut(service).complete = false;
    }
    let day = Day::new();
    let evidence = Evidence {
        table: &day.table,
        last: &SavedTable::default(),
        catalog: None,
        confirmations: 0,
        restarts: 0,
    };
    let losses = guard(&mut all, &evidence, &policy(), &day.losses, day.now);
    assert_eq!(losses, Losses::default());
}
