//! What is still done after a failure, and what is not.

use ipvs::{
    Forwarding, RealServer, Scheduler, ServiceSettings, Thresholds, VirtualService, Weight,
};

use super::*;
use crate::desired::{Declared, DesiredService};

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
        declared: Declared::Config,
        complete: true,
        endpoints: Vec::new(),
    };
    let services = [80, 81].map(|port| (id(port), service.clone()));
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
    let mut gate = Gate::new(&desired, None);
    assert!(gate.lets(&lower(1), &table) && gate.lets(&lower(2), &table));
    gate.failed(&newcomer, &table);
    assert!(gate.lets(&remove(3), &table), "it does not serve");
    assert!(gate.lets(&lower(1), &table));
    assert!(!gate.lets(&lower(2), &table));
    assert!(!gate.lets(&remove(2), &table));
    let elsewhere = step(Command::RemoveReal(id(81), real(2, 0).address));
    assert!(gate.lets(&elsewhere, &table));
}

#[test]
fn a_refused_raise_counts_like_a_refused_newcomer_and_a_refused_lowering_does_not() {
    let (desired, table) = (desired(false), table(&[1, 0]));
    let lower = step(Command::EditReal(id(80), real(1, 0)));
    let mut gate = Gate::new(&desired, None);
    gate.failed(&lower, &table);
    assert!(gate.lets(&lower, &table));
    gate.failed(&step(Command::EditReal(id(80), real(2, 1))), &table);
    assert!(!gate.lets(&lower, &table));
}

#[test]
fn a_service_that_was_refused_gets_no_real_servers() {
    let (desired, table) = (desired(false), Table::default());
    let mut gate = Gate::new(&desired, None);
    gate.failed(&step(Command::AddService(id(80), settings())), &table);
    assert!(!gate.lets(&step(Command::AddReal(id(80), real(1, 1))), &table));
    assert!(gate.lets(&step(Command::AddReal(id(81), real(1, 1))), &table));
}

#[test]
fn without_its_snat_nothing_is_added_to_a_service_that_wants_it() {
    let (desired, table) = (desired(true), table(&[0]));
    let there = SnatSet::from([id(81)]);
    let mut gate = Gate::new(&desired, Some(&there));
    let steps = |port| {
        [
            step(Command::AddService(id(port), settings())),
            step(Command::AddReal(id(port), real(2, 1))),
            step(Command::EditReal(id(port), real(1, 1))),
        ]
    };
    assert!(steps(80).iter().all(|step| gate.lets(step, &table)));
    gate.failed(&Step::SetSnat([id(80), id(81)].into()), &table);
    assert!(!steps(80).iter().any(|step| gate.lets(step, &table)));
    assert!(
        steps(81).iter().all(|step| gate.lets(step, &table)),
        "it has its own"
    );
}

#[test]
fn what_could_not_be_removed_keeps_its_address_and_its_snat() {
    let (desired, table) = (Desired::default(), table(&[0]));
    let there = SnatSet::from([id(80)]);
    let mut gate = Gate::new(&desired, Some(&there));
    let tidy = [
        Step::SetSnat(SnatSet::new()),
        Step::RemoveVip("198.18.0.29".parse().unwrap()),
    ];
    assert!(tidy.iter().all(|step| gate.lets(step, &table)));
    gate.failed(&step(Command::RemoveService(id(80))), &table);
    assert!(!tidy.iter().any(|step| gate.lets(step, &table)));
}
