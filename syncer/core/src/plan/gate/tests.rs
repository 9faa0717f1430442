//! What is still done after a failure, and what is not.

use std::sync::Arc;

use ipvs::{
    Forwarding, RealServer, Scheduler, ServiceSettings, Thresholds, VirtualService, Weight,
};

use super::*;
use crate::desired::{Declared, DesiredService};
use crate::model::safeguard::Safeguards;

fn id(port: u16) -> ServiceId {
    format!("198.18.0.29:{port}").parse().unwrap()
}

fn real(port: u16, weight: u32) -> RealServer {
    RealServer {
        address: format!("198.18.0.11:{port}").parse().unwrap(),
        weight: Weight::saturating(weight),
        forwarding: Forwarding::Masquerade,
        thresholds: Thresholds::default(),
    }
}

fn settings() -> ServiceSettings {
    ServiceSettings::new(Scheduler::WRR)
}

fn table(weights: &[u32]) -> Table {
    let reals = (1..).zip(weights).map(|(port, weight)| real(port, *weight));
    [(id(80), VirtualService::new(settings(), reals.collect()))]
        .into_iter()
        .collect()
}

fn desired(snat: bool) -> Desired {
    let service = DesiredService {
        name: "web".into(),
        settings: settings(),
        forwarding: Forwarding::Masquerade,
        snat,
        drain: std::time::Duration::from_mins(1),
        safeguards: Safeguards::default(),
        declared: Declared::Config,
        complete: true,
        endpoints: Vec::new(),
    };
    let services = [80, 81].map(|port| (id(port), Arc::new(service.clone())));
    Desired {
        services: services.into(),
        complete: true,
        ..Desired::default()
    }
}

fn step(command: Command) -> Step {
    Step::Ipvs(command)
}

#[test]
fn after_a_refused_newcomer_the_last_that_serves_is_not_lowered_and_the_others_are() {
    let (desired, table) = (desired(false), table(&[1, 1, 0]));
    let newcomer = step(Command::AddReal(id(80), real(4, 1)));
    let lower = |port| step(Command::EditReal(id(80), real(port, 0)));
    let remove = |port| step(Command::RemoveReal(id(80), real(port, 0).address));
    let mut gate = Gate::new(None);
    assert!(gate.lets(&lower(1), &desired, &table) && gate.lets(&lower(2), &desired, &table));
    gate.fail(&newcomer, &table);
    assert!(gate.lets(&remove(3), &desired, &table), "it does not serve");
    assert!(gate.lets(&lower(1), &desired, &table));
    assert!(!gate.lets(&lower(2), &desired, &table));
    assert!(!gate.lets(&remove(2), &desired, &table));
    let elsewhere = step(Command::RemoveReal(id(81), real(2, 0).address));
    assert!(gate.lets(&elsewhere, &desired, &table));
}

#[test]
fn of_three_that_serve_in_a_service_that_is_short_two_may_go() {
    let (desired, table) = (desired(false), table(&[1, 1, 1]));
    let mut gate = Gate::new(None);
    gate.fail(&step(Command::AddReal(id(80), real(4, 1))), &table);
    let lets = [1, 2, 3].map(|port| {
        let remove = step(Command::RemoveReal(id(80), real(port, 1).address));
        gate.lets(&remove, &desired, &table)
    });
    assert_eq!(lets, [true, true, false]);
}

#[test]
fn a_refused_raise_counts_like_a_refused_newcomer_and_a_refused_lowering_does_not() {
    let (desired, table) = (desired(false), table(&[1, 0]));
    let lower = step(Command::EditReal(id(80), real(1, 0)));
    let mut gate = Gate::new(None);
    gate.fail(&lower, &table);
    assert!(gate.lets(&lower, &desired, &table));
    gate.fail(&step(Command::EditReal(id(80), real(2, 1))), &table);
    assert!(!gate.lets(&lower, &desired, &table));
}

#[test]
fn a_service_that_was_refused_gets_no_real_servers() {
    let (desired, table) = (desired(false), Table::default());
    let mut gate = Gate::new(None);
    gate.fail(&step(Command::AddService(id(80), settings())), &table);
    assert!(!gate.lets(
        &step(Command::AddReal(id(80), real(1, 1))),
        &desired,
        &table
    ));
    assert!(gate.lets(
        &step(Command::AddReal(id(81), real(1, 1))),
        &desired,
        &table
    ));
}

#[test]
fn without_its_snat_nothing_is_added_to_a_service_that_wants_it() {
    let (desired, table) = (desired(true), table(&[0]));
    let there = SnatSet::from([id(81)]);
    let mut gate = Gate::new(Some(&there));
    let steps = |port| {
        [
            step(Command::AddService(id(port), settings())),
            step(Command::AddReal(id(port), real(2, 1))),
            step(Command::EditReal(id(port), real(1, 1))),
        ]
    };
    assert!(
        steps(80)
            .iter()
            .all(|step| gate.lets(step, &desired, &table))
    );
    gate.fail(&Step::SetSnat([id(80), id(81)].into()), &table);
    assert!(
        !steps(80)
            .iter()
            .any(|step| gate.lets(step, &desired, &table))
    );
    assert!(
        steps(81)
            .iter()
            .all(|step| gate.lets(step, &desired, &table)),
        "it has its own"
    );
}

#[test]
fn what_could_not_be_removed_keeps_its_address_and_its_snat() {
    let (desired, table) = (Desired::default(), table(&[0]));
    let there = SnatSet::from([id(80)]);
    let mut gate = Gate::new(Some(&there));
    let tidy = [
        Step::SetSnat(SnatSet::new()),
        Step::RemoveVip("198.18.0.29".parse().unwrap()),
    ];
    assert!(tidy.iter().all(|step| gate.lets(step, &desired, &table)));
    gate.fail(&step(Command::RemoveService(id(80))), &table);
    assert!(!tidy.iter().any(|step| gate.lets(step, &desired, &table)));
}

#[test]
fn a_refused_edit_to_an_equal_weight_or_of_one_that_is_gone_counts_like_a_refused_newcomer() {
    let (desired, table) = (desired(false), table(&[1, 1]));
    let lower = step(Command::EditReal(id(80), real(1, 0)));
    for port in [2, 3] {
        let mut gate = Gate::new(None);
        gate.fail(&step(Command::EditReal(id(80), real(port, 1))), &table);
        assert!(gate.lets(&lower, &desired, &table), "one of two");
        let other = step(Command::EditReal(id(80), real(2, 0)));
        assert!(!gate.lets(&other, &desired, &table), "{port}");
    }
}

#[test]
fn without_its_snat_an_edit_to_an_equal_weight_waits_and_a_lowering_does_not() {
    let (desired, table) = (desired(true), table(&[2]));
    let mut gate = Gate::new(None);
    gate.fail(&Step::SetSnat([id(80)].into()), &table);
    for (weight, expected) in [(3, false), (2, false), (1, true), (0, true)] {
        let edit = step(Command::EditReal(id(80), real(1, weight)));
        assert_eq!(
            gate.lets(&edit, &desired, &table),
            expected,
            "weight {weight}"
        );
    }
    let unknown = step(Command::EditReal(id(80), real(2, 1)));
    assert!(!gate.lets(&unknown, &desired, &table), "it is added");
}

#[test]
fn without_snat_whatever_wants_none_is_added() {
    let (desired, table) = (desired(false), Table::default());
    let mut gate = Gate::new(None);
    gate.fail(&Step::SetSnat([id(90)].into()), &table);
    let service = step(Command::AddService(id(80), settings()));
    assert!(gate.lets(&service, &desired, &table));
    let unasked = step(Command::AddService(id(99), settings()));
    assert!(
        gate.lets(&unasked, &desired, &table),
        "nobody wants SNAT for it"
    );
}

#[test]
fn a_service_that_lost_nothing_goes_and_one_with_a_real_server_that_stays_does_not() {
    let (desired, table) = (Desired::default(), table(&[0]));
    let (service, real) = (
        step(Command::RemoveService(id(80))),
        step(Command::RemoveReal(id(80), real(1, 0).address)),
    );
    let mut gate = Gate::new(None);
    assert!(gate.lets(&service, &desired, &table));
    gate.fail(&real, &table);
    assert!(!gate.lets(&service, &desired, &table));
}

#[test]
fn what_is_stuck_holds_up_nothing_of_others() {
    let (desired, table) = (Desired::default(), table(&[0]));
    let mut gate = Gate::new(Some(&[id(80), id(81)].into()));
    gate.fail(&step(Command::RemoveService(id(80))), &table);
    let elsewhere = Step::RemoveVip("198.18.0.30".parse().unwrap());
    assert!(gate.lets(&elsewhere, &desired, &table));
    let others = |left| Step::SetSnat([left].into());
    assert!(gate.lets(&others(id(80)), &desired, &table));
    assert!(!gate.lets(&others(id(81)), &desired, &table));
    let more = Step::SetSnat([id(80), id(81), id(82)].into());
    let new = step(Command::RemoveReal(id(82), real(1, 0).address));
    gate.fail(&new, &table);
    assert!(gate.lets(&more, &desired, &table), "it is wider");
}

#[test]
fn what_needs_nothing_is_always_let_through() {
    let (desired, table) = (desired(true), table(&[1]));
    let mut gate = Gate::new(None);
    gate.fail(&Step::SetSnat([id(80)].into()), &table);
    let vip = "198.18.0.29".parse().unwrap();
    let steps = [
        Step::AddVip(vip),
        Step::ForgetUnanswered(vip),
        Step::ForgetFlows(id(80), real(1, 1).address),
        step(Command::EditService(id(80), settings())),
    ];
    assert!(steps.iter().all(|step| gate.lets(step, &desired, &table)));
}

#[test]
fn a_setting_that_could_not_be_made_counts_only_where_rules_need_it() {
    use crate::reading::{Need, Sysctl};
    let (desired, table) = (desired(true), Table::default());
    for (need, expected) in [
        (Need::Snat, false),
        (Need::Always, true),
        (Need::Ipv6, true),
    ] {
        let sysctl = Sysctl {
            name: "net/ipv4/vs/conntrack".into(),
            value: "1",
            need,
        };
        let mut gate = Gate::new(None);
        gate.fail(&Step::SetSysctl(sysctl), &table);
        let service = step(Command::AddService(id(80), settings()));
        assert_eq!(gate.lets(&service, &desired, &table), expected, "{need:?}");
    }
}
