//! What should be registered, and what goes and stays.

use syncer_core::model::fleet::{Allocation, ClientStatus, Port, Task, TaskState};

use super::*;

fn allocation(id: u128) -> Allocation {
    Allocation {
        id: AllocId(id),
        namespace: "default".into(),
        job: "my.job".into(),
        group: "web".into(),
        node_id: "n1".into(),
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
            address: "198.18.0.11:20000".parse().unwrap(),
            task: Some("www".into()),
            registered_by_nomad: Some(false),
        }],
        created: 1,
    }
}

fn wanted_of(alloc: Allocation, current: &[&str]) -> Vec<Registration> {
    wanted(&Fleet::new([alloc]), "node1", current.iter().copied())
}

#[test]
fn a_running_port_that_nobody_registers_is_ours_to_register() {
    let found = wanted_of(allocation(1), &[]);
    assert_eq!(
        found[0].id,
        "nomad-ipvs-00000000-0000-0000-0000-000000000001-www-http"
    );
    assert_eq!(found[0].name, "my-job-web-http");
    assert_eq!(
        wanted(&Fleet::new([allocation(1)]), "n1", [].into_iter()).len(),
        1
    );
    assert!(wanted(&Fleet::new([allocation(1)]), "node2", [].into_iter()).is_empty());
}

#[test]
fn what_nomad_registers_or_has_registered_is_not_done_twice() {
    let mut declared = allocation(1);
    declared.ports[0].registered_by_nomad = Some(true);
    assert!(wanted_of(declared, &[]).is_empty());
    let id = "_nomad-task-00000000-0000-0000-0000-000000000001-group-web-www-http";
    assert!(wanted_of(allocation(1), &[id]).is_empty());
    let other = "_nomad-task-00000000-0000-0000-0000-000000000002-group-web-www-http";
    assert_eq!(wanted_of(allocation(1), &[other]).len(), 1);
}

#[test]
fn whatever_does_not_run_or_is_to_stop_is_not_registered() {
    for client in [
        ClientStatus::Pending,
        ClientStatus::Complete,
        ClientStatus::Lost,
    ] {
        assert!(
            wanted_of(
                Allocation {
                    client,
                    ..allocation(1)
                },
                &[]
            )
            .is_empty()
        );
    }
    assert!(
        wanted_of(
            Allocation {
                wanted: false,
                ..allocation(1)
            },
            &[]
        )
        .is_empty()
    );
    let mut restarting = allocation(1);
    restarting.tasks[0].state = TaskState::Pending;
    assert!(wanted_of(restarting, &[]).is_empty());
}

#[test]
fn a_label_that_ends_like_another_is_not_the_other() {
    let mut two = allocation(1);
    two.ports.push(Port {
        label: "my-http".into(),
        address: "198.18.0.11:20001".parse().unwrap(),
        ..two.ports[0].clone()
    });
    let nomads = "_nomad-task-00000000-0000-0000-0000-000000000001-group-web-www-my-http";
    let found = wanted_of(two, &[nomads]);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].address.port(), 20000);
}

fn current(id: u128) -> BTreeMap<String, AgentEntry> {
    let alloc = AgentEntry {
        name: "my-job-web-http".into(),
        address: "198.18.0.11".into(),
        port: 20000,
    };
    BTreeMap::from([(
        format!("{OUR_REGISTRATIONS}{}-www-http", AllocId(id)),
        alloc,
    )])
}

fn work_on(
    current: &BTreeMap<String, AgentEntry>,
    fleet: &Fleet,
    absences: &mut Absences,
    at: Instant,
) -> Work {
    let wanted = wanted(fleet, "node1", current.keys().map(String::as_str));
    let nomad = NomadAnswer {
        fleet,
        node: "node1",
        at,
        now: at,
    };
    work(&wanted, current, &nomad, absences)
}

#[test]
fn what_nomad_says_is_over_goes_at_once_and_others_stay() {
    let mut current = current(1);
    current.insert("theirs".into(), current.values().next().unwrap().clone());
    let own = current.keys().next().unwrap().clone();
    let on = |alloc: Allocation| {
        let fleet = Fleet::new([alloc]);
        work_on(&current, &fleet, &mut Absences::default(), Instant::now()).steps
    };
    assert_eq!(on(allocation(1)), []);
    let over = [ClientStatus::Complete, ClientStatus::Failed].map(|client| Allocation {
        client,
        ..allocation(1)
    });
    let unwanted = Allocation {
        wanted: false,
        ..allocation(1)
    };
    for alloc in over.into_iter().chain([unwanted]) {
        assert_eq!(on(alloc), [RegistrarStep::Deregister(own.clone())]);
    }
    let mut declared = allocation(1);
    declared.ports[0].registered_by_nomad = Some(true);
    assert_eq!(on(declared), [RegistrarStep::Deregister(own.clone())]);
    let mut moved = allocation(1);
    moved.ports[0].address = "198.18.0.11:20001".parse().unwrap();
    assert!(matches!(on(moved)[..], [RegistrarStep::Register(_)]));
}

#[test]
fn what_nomad_lost_or_does_not_know_the_job_of_stays() {
    let mut strange = allocation(1);
    strange.ports[0].registered_by_nomad = None;
    let lost = [ClientStatus::Lost, ClientStatus::Unknown].map(|client| Allocation {
        client,
        wanted: false,
        ..allocation(1)
    });
    for alloc in lost.into_iter().chain([strange]) {
        let fleet = Fleet::new([alloc]);
        let work = work_on(
            &current(1),
            &fleet,
            &mut Absences::default(),
            Instant::now(),
        );
        assert_eq!((work.steps.len(), work.held.len()), (0, 1));
    }
    let lost = Allocation {
        client: ClientStatus::Lost,
        ..allocation(1)
    };
    let fleet = Fleet::new([lost, allocation(2)]);
    let work = work_on(
        &current(1),
        &fleet,
        &mut Absences::default(),
        Instant::now(),
    );
    assert!(work.held.is_empty(), "the port is another's by now");
}

#[test]
fn what_nomad_does_not_mention_is_held_for_a_minute_and_two_answers() {
    let (current, start) = (current(1), Instant::now());
    let elsewhere = Allocation {
        node_id: "n2".into(),
        node_name: "node2".into(),
        ..allocation(2)
    };
    let fleet = Fleet::new([elsewhere]);
    let mut absences = Absences::default();
    let mut gone = |seconds, fleet: &Fleet| {
        let at = start + Duration::from_secs(seconds);
        let work = work_on(&current, fleet, &mut absences, at);
        assert_eq!(work.steps.len() + work.held.len(), 1);
        work.held.is_empty()
    };
    assert!(!gone(0, &fleet));
    assert!(!gone(59, &fleet));
    assert!(gone(60, &fleet));
}

#[test]
fn an_empty_list_of_nomad_takes_nothing_away_however_long_it_lasts() {
    let (current, start) = (current(1), Instant::now());
    let mut absences = Absences::default();
    for minutes in 0..10 {
        let at = start + Duration::from_mins(minutes);
        let work = work_on(&current, &Fleet::default(), &mut absences, at);
        assert_eq!((work.steps.len(), work.held.len()), (0, 1));
    }
}
