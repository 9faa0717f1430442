use std::collections::BTreeMap;

use super::super::episode::{Change, Fault, Kind, Part, Timed};
use super::*;
use crate::observe::status::{Allocation, DataPlane, Instance, Reach, RealServer};

fn address() -> SocketAddr {
    "198.18.0.11:25000".parse().unwrap()
}

fn view(state: Option<&str>, health: Option<&str>, weight: Option<u32>) -> View {
    let allocation = |state: &str| Allocation {
        id: "a".to_owned(),
        job: job::JOB.to_owned(),
        group: "servers".to_owned(),
        label: "www".to_owned(),
        state: state.to_owned(),
    };
    let instance = |health: &str| Instance {
        service: job::SERVICE.to_owned(),
        health: health.to_owned(),
        vips: BTreeSet::new(),
    };
    let real = |weight| RealServer {
        address: address(),
        vip: "tcp://198.18.0.29:80".to_owned(),
        forward: "masq".to_owned(),
        weight,
        active: 0,
        inactive: 0,
    };
    View {
        allocations: Ok(state
            .map(|it| (address(), vec![allocation(it)]))
            .into_iter()
            .collect()),
        instances: Ok(health
            .map(|it| (address(), vec![instance(it)]))
            .into_iter()
            .collect()),
        kernel: Ok(weight
            .map(|it| (address(), vec![real(it)]))
            .into_iter()
            .collect()),
        data_plane: Ok(DataPlane::new()),
        syncer: None,
    }
}

#[test]
fn every_way_to_differ_is_told_apart() {
    let cases = [
        (Some("running"), Some("passing"), Some(1), None),
        (Some("running"), None, Some(1), Some(What::LostRegistration)),
        (
            Some("running"),
            Some("critical"),
            Some(0),
            Some(What::NotPassing),
        ),
        (
            Some("running"),
            Some("passing"),
            Some(0),
            Some(What::Unserved),
        ),
        (Some("running"), Some("passing"), None, Some(What::Unserved)),
        (Some("pending"), None, None, None),
        (
            Some("pending"),
            Some("passing"),
            None,
            Some(What::StaleRegistration),
        ),
        (Some("pending"), None, Some(1), Some(What::ServedTooLong)),
        (Some("stopping"), Some("passing"), Some(0), None),
        (Some("stopping"), None, None, None),
        (
            Some("stopping"),
            Some("passing"),
            Some(1),
            Some(What::ServedTooLong),
        ),
        (None, Some("passing"), None, Some(What::StaleRegistration)),
        (None, None, Some(0), Some(What::StaleRealServer)),
    ];
    for (state, health, weight, expected) in cases {
        let found = differences(&view(state, health, weight)).unwrap();
        let found = found.first().map(|difference| difference.what);
        assert_eq!(found, expected, "{state:?} {health:?} {weight:?}");
    }
}

#[test]
fn a_view_that_cannot_be_read_is_no_agreement() {
    let unread = View {
        instances: Err("ask Consul: refused".to_owned()),
        ..view(None, None, None)
    };
    assert_eq!(differences(&unread).unwrap_err(), "ask Consul: refused");
}

#[test]
fn a_foreign_virtual_service_is_nobodys_real_server() {
    let mut foreign = view(None, None, Some(1));
    let reals = foreign.kernel.iter_mut().flat_map(BTreeMap::values_mut);
    for real in reals.flatten() {
        real.vip = "tcp://198.19.255.77:80".to_owned();
    }
    assert_eq!(differences(&foreign).unwrap(), []);
}

#[test]
fn a_real_server_behind_two_vips_is_judged_behind_each_whichever_is_read_last() {
    let weights = |first: u32, second: u32| {
        let mut view = view(Some("running"), Some("passing"), Some(first));
        for reals in view.kernel.iter_mut().flat_map(BTreeMap::values_mut) {
            let mut other = reals[0].clone();
            other.vip = "tcp://198.18.0.30:80".to_owned();
            other.weight = second;
            reals.push(other);
        }
        let found = differences(&view).unwrap();
        found.iter().map(|it| it.what).collect::<Vec<_>>()
    };
    assert_eq!(weights(1, 1), []);
    assert_eq!(weights(0, 1), [What::Unserved]);
    assert_eq!(weights(1, 0), [What::Unserved]);
}

#[test]
fn a_stranger_that_gets_nothing_more_is_put_right_and_another_is_not() {
    let only = |address: &str, weight: u32| {
        let address: SocketAddr = address.parse().unwrap();
        let mut view = view(None, None, Some(weight));
        let mut reals = view.kernel.unwrap().into_values().next().unwrap();
        reals[0].address = address;
        view.kernel = Ok([(address, reals)].into());
        let found = differences(&view).unwrap();
        found.iter().map(|it| it.what).collect::<Vec<_>>()
    };
    assert_eq!(only("198.19.255.79:80", 1), [What::StaleRealServer]);
    assert_eq!(only("198.19.255.79:80", 0), []);
    assert_eq!(only("198.18.0.11:25001", 0), [What::StaleRealServer]);
}

#[test]
fn a_vip_through_which_nothing_comes_is_no_agreement() {
    let mut view = view(Some("running"), Some("passing"), Some(1));
    let fails = Reach::Fails {
        why: "timed out".to_owned(),
    };
    view.data_plane = Ok([("tcp://198.18.0.29:80".to_owned(), fails)].into());
    let found = differences(&view).unwrap();
    let silent = Difference {
        address: "198.18.0.29:80".parse().unwrap(),
        what: What::Silent,
    };
    assert_eq!(found, [silent]);
    view.data_plane = Err("no client".to_owned());
    assert_eq!(differences(&view).unwrap_err(), "no client");
}

#[test]
fn what_a_hand_has_changed_may_take_until_the_next_audit_and_no_longer() {
    let agreed = |seconds| Evidence {
        agreement: Agreement {
            took: Some(Duration::from_secs(seconds)),
            open: vec!["x".to_owned()],
        },
        lost: 9,
        ..well()
    };
    for part in [Part::Sysctl, Part::Address, Part::Rule, Part::Table] {
        let episode = episode(Kind::Meddle, part, None);
        assert_eq!(judge(&episode, &agreed(8)), [], "{part}");
        let late = judge(&episode, &agreed(10));
        assert!(
            matches!(late[..], [Violation::AgreedLate { goal: 9, .. }]),
            "{late:?}"
        );
    }
    let killed = judge(&episode(Kind::Kill, Part::Director, None), &agreed(6));
    assert!(
        matches!(killed[..], [Violation::AgreedLate { goal: 5, .. }]),
        "{killed:?}"
    );
}

fn episode(kind: Kind, part: Part, change: Option<Change>) -> Episode {
    let fault = Fault {
        kind,
        part,
        after: Duration::ZERO,
        lasts: Duration::from_secs(1),
    };
    Episode {
        seed: 7,
        faults: vec![fault],
        change: change.map(|change| Timed {
            change,
            after: Duration::ZERO,
        }),
    }
}

fn task(client: &str, desired: &str, started: &str) -> Task {
    Task {
        alloc: "a".to_owned(),
        desired: desired.to_owned(),
        client: client.to_owned(),
        started: started.to_owned(),
        restarts: 0,
        address: Some(address()),
    }
}

/// An episode without fault or blemish.
fn well() -> Evidence {
    Evidence {
        before: vec![task("running", "run", "t0")],
        after: vec![task("running", "run", "t0")],
        samples: vec![Sample {
            at: 0.5,
            weights: [(address(), 1)].into(),
        }],
        unmended: None,
        agreement: Agreement {
            took: Some(Duration::from_secs(1)),
            open: Vec::new(),
        },
        unrest: None,
        foreign_missing: Vec::new(),
        asked: 100,
        lost: 0,
        loss: None,
        late_loss: None,
    }
}

#[test]
fn an_episode_in_which_all_held_has_no_violation() {
    assert_eq!(judge(&episode(Kind::Kill, Part::Consul, None), &well()), []);
}

#[test]
fn a_lost_request_counts_where_nothing_in_its_way_was_hit() {
    let evidence = Evidence { lost: 1, ..well() };
    let judged = |kind, part, change| judge(&episode(kind, part, change), &evidence).len();
    for part in [
        Part::Plugin,
        Part::Nomad,
        Part::Consul,
        Part::Syncer,
        Part::Registrar,
    ] {
        for kind in [Kind::Kill, Kind::Pause, Kind::Restart] {
            assert_eq!(judged(kind, part, None), 1, "{kind} {part}");
        }
    }
    assert_eq!(judged(Kind::Kill, Part::Director, None), 0);
    assert_eq!(judged(Kind::CutOff, Part::Node1, None), 0);
    assert_eq!(judged(Kind::Kill, Part::Consul, Some(Change::ScaleUp)), 0);
}

#[test]
fn a_task_may_go_only_when_the_change_takes_it_away() {
    let gone = Evidence {
        after: vec![task("complete", "stop", "t0")],
        ..well()
    };
    let judged = |change| judge(&episode(Kind::Kill, Part::Plugin, change), &gone).len();
    assert_eq!(judged(Some(Change::StopOne)), 0);
    assert_eq!(judged(Some(Change::ScaleUp)), 1);
    assert_eq!(judged(None), 1);
    let again = Evidence {
        after: vec![task("running", "run", "t9")],
        ..well()
    };
    let restarted = judge(
        &episode(Kind::Kill, Part::Plugin, Some(Change::StopOne)),
        &again,
    );
    assert!(
        matches!(restarted[..], [Violation::TaskRestarted { .. }]),
        "{restarted:?}"
    );
}

#[test]
fn a_real_server_that_was_away_for_a_moment_is_seen_unless_its_kernel_ended() {
    let mut evidence = well();
    evidence.samples.push(Sample {
        at: 2.0,
        weights: [(address(), 0)].into(),
    });
    let judged = |kind| judge(&episode(kind, Part::Director, None), &evidence);
    assert!(matches!(
        judged(Kind::CutOff)[..],
        [Violation::Removed { .. }]
    ));
    assert_eq!(judged(Kind::Kill), []);
}

#[test]
fn late_agreement_no_agreement_and_foreign_rules_gone_are_violations() {
    let late = |took: Option<u64>| Evidence {
        agreement: Agreement {
            took: took.map(Duration::from_secs),
            open: vec!["x".to_owned()],
        },
        foreign_missing: vec!["y".to_owned()],
        ..well()
    };
    let episode = episode(Kind::Pause, Part::Consul, None);
    let slow = judge(&episode, &late(Some(6)));
    assert!(
        matches!(
            slow[..],
            [Violation::AgreedLate { .. }, Violation::ForeignGone(_)]
        ),
        "{slow:?}"
    );
    let never = judge(&episode, &late(None));
    assert!(matches!(never[0], Violation::NeverAgreed(_)), "{never:?}");
}

#[test]
fn a_request_lost_when_all_was_said_to_be_well_counts_whatever_was_hit() {
    let evidence = Evidence {
        late_loss: Some("at 9.0 s: connect: timed out".to_owned()),
        ..well()
    };
    let judged = judge(&episode(Kind::Kill, Part::Director, None), &evidence);
    assert!(
        matches!(judged[..], [Violation::LostAfterAgreement(_)]),
        "{judged:?}"
    );
}
