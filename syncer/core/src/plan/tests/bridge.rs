//! The last one that serves serves on while its successor is on its way.

use std::sync::Arc;

use super::world::{address, id, real, service_with, settings, weight};
use super::*;
use crate::model::AllocId;
use crate::model::fleet::{Allocation, ClientStatus, Fleet, Port, Task, TaskState};

/// The allocation that has the port of that number.
pub(super) fn allocation(port: u16, wanted: bool) -> Allocation {
    Allocation {
        id: AllocId(u128::from(port)),
        namespace: "default".into(),
        job: "web".into(),
        group: "web".into(),
        node_id: "n".into(),
        node_name: "node1".into(),
        client: ClientStatus::Running,
        wanted,
        tasks: vec![Task {
            name: "www".into(),
            state: TaskState::Running,
            started: Some("1".into()),
        }],
        ports: vec![Port {
            label: "http".into(),
            address: address(port),
            task: Some("www".into()),
            registered_by_nomad: Some(true),
        }],
        created: 1,
    }
}

/// Port 1 is told to stop, port 9 comes in its place; beside it there is what the case says.
fn replaced(wants: &[(u16, Want)]) -> Desired {
    let all: Vec<(u16, Want)> = [(1, Want::Drain)].iter().chain(wants).copied().collect();
    let fleet = Fleet::new([allocation(1, false), allocation(9, true)]);
    Desired {
        fleet: Some(Arc::new(fleet)),
        ..desired(vec![(id(80), service_with(&all))])
    }
}

fn steps(reals: &[(u16, u32)], wants: &[(u16, Want)]) -> Vec<String> {
    texts(&Machine::of(table(reals)).plan(&replaced(wants), 0))
}

const QUIESCED: &str = "edit tcp://198.18.0.29:80 -> 198.18.0.11:1 weight 0";

#[test]
fn the_last_that_serves_is_left_alone_until_its_successor_does() {
    assert!(steps(&[(1, 1)], &[]).is_empty());
    let arrived = steps(&[(1, 1)], &[(9, Want::Serve(weight(1)))]);
    assert_eq!(
        arrived,
        [
            "add tcp://198.18.0.29:80 -> 198.18.0.11:9 weight 1",
            QUIESCED
        ]
    );
}

#[test]
fn one_that_the_catalogue_has_no_more_waits_for_its_successor_too() {
    let gone = Desired {
        services: [(id(80), Arc::new(service_with(&[])))].into(),
        ..replaced(&[])
    };
    assert!(
        Machine::of(table(&[(1, 1)]))
            .plan(&gone, 0)
            .steps
            .is_empty()
    );
}

#[test]
fn whoever_will_not_serve_after_this_plan_relieves_nobody() {
    let others = [
        Want::Serve(weight(0)),
        Want::Warm(weight(1)),
        Want::Keep,
        Want::Quiesce,
    ];
    for other in others {
        let texts = steps(&[(1, 1), (2, 0)], &[(2, other)]);
        assert!(texts.is_empty(), "{other:?}: {texts:?}");
    }
    for other in [Want::Quiesce, Want::Remove] {
        let texts = steps(&[(1, 1), (2, 1)], &[(2, other)]);
        assert!(
            !texts.contains(&QUIESCED.to_owned()),
            "{other:?}: {texts:?}"
        );
    }
    for other in [Want::Warm(weight(1)), Want::Keep] {
        let texts = steps(&[(1, 1)], &[(9, other)]);
        assert!(texts.is_empty(), "{other:?} and not there: {texts:?}");
    }
}

#[test]
fn whoever_serves_already_and_stays_relieves_the_one_that_goes() {
    for other in [Want::Warm(weight(1)), Want::Keep] {
        let texts = steps(&[(1, 1), (2, 1)], &[(2, other)]);
        assert_eq!(texts, [QUIESCED], "{other:?}");
    }
}

#[test]
fn one_that_does_not_serve_any_more_drains_although_nobody_came_in_its_place() {
    let mut machine = Machine::of(table(&[(1, 0)]));
    assert_eq!(machine.plan(&replaced(&[]), 0).drains.0.len(), 1);
    machine.count(1, 0);
    assert_eq!(
        texts(&machine.plan(&replaced(&[]), 0)),
        ["remove tcp://198.18.0.29:80 -> 198.18.0.11:1"]
    );
}

#[test]
fn a_service_that_should_not_be_waits_for_no_successor() {
    let none = Desired {
        services: BTreeMap::new(),
        ..replaced(&[])
    };
    assert_eq!(
        texts(&Machine::of(table(&[(1, 1)])).plan(&none, 0)),
        [QUIESCED]
    );
}

#[test]
fn without_a_successor_the_last_one_drains() {
    let alone = Desired {
        fleet: Some(Arc::new(Fleet::new([allocation(1, false)]))),
        ..replaced(&[])
    };
    assert_eq!(
        texts(&Machine::of(table(&[(1, 1)])).plan(&alone, 0)),
        [QUIESCED]
    );
}

#[test]
fn a_udp_service_waits_for_a_successor_too() {
    let udp: ServiceId = "udp://198.18.0.29:53".parse().unwrap();
    let current = ipvs::VirtualService::new(settings("rr"), vec![real(1, 1)]);
    let machine = Machine::of([(udp, current)].into_iter().collect());
    let wanted = Desired {
        services: [(udp, Arc::new(service_with(&[(1, Want::Drain)])))].into(),
        ..replaced(&[])
    };
    assert!(machine.plan(&wanted, 0).steps.is_empty());
}
