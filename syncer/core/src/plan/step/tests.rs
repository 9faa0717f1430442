//! What the mirror has after a step, and how far a step reaches.

use std::net::IpAddr;

use ::ipvs::{
    Forwarding, RealServer, Scheduler, ServiceId, ServiceSettings, Thresholds, VirtualService,
    Weight,
};

use super::*;
use crate::reading::Need;

fn vip() -> IpAddr {
    "198.18.0.29".parse().unwrap()
}

fn id() -> ServiceId {
    "198.18.0.29:80".parse().unwrap()
}

fn real() -> RealServer {
    RealServer {
        address: "198.18.0.11:1".parse().unwrap(),
        weight: Weight::ONE,
        forwarding: Forwarding::Masquerade,
        thresholds: Thresholds::default(),
    }
}

fn settings() -> ServiceSettings {
    ServiceSettings::new(Scheduler::WRR)
}

fn sysctl() -> Sysctl {
    Sysctl {
        name: "net/ipv4/ip_forward".into(),
        value: "1",
        need: Need::Always,
    }
}

/// Steps about a real server of one virtual service.
fn of_one_real() -> [Step; 4] {
    let commands = [
        Command::AddReal(id(), real()),
        Command::EditReal(id(), real()),
        Command::RemoveReal(id(), real().address),
    ];
    let [add, edit, remove] = commands.map(Step::Ipvs);
    [add, edit, remove, Step::ForgetFlows(id(), real().address)]
}

/// Steps about a whole virtual service.
fn of_one_service() -> [Step; 3] {
    let commands = [
        Command::AddService(id(), settings()),
        Command::EditService(id(), settings()),
        Command::RemoveService(id()),
    ];
    commands.map(Step::Ipvs)
}

/// Steps about what all virtual services need.
fn of_all() -> [Step; 5] {
    [
        Step::SetSysctl(sysctl()),
        Step::SetSnat([id()].into()),
        Step::AddVip(vip()),
        Step::RemoveVip(vip()),
        Step::ForgetUnanswered(vip()),
    ]
}

#[test]
fn a_step_reaches_as_far_as_what_it_is_about() {
    let reach = |step: &Step| (step.service(), step.is_of_one_real());
    assert!(
        of_one_real()
            .iter()
            .all(|step| reach(step) == (Some(id()), true))
    );
    assert!(
        of_one_service()
            .iter()
            .all(|step| reach(step) == (Some(id()), false))
    );
    assert!(of_all().iter().all(|step| reach(step) == (None, false)));
}

#[test]
fn after_a_failed_command_the_table_is_in_doubt_and_after_failed_rules_only_the_rules_are() {
    let mut mirror = Reading {
        snat: Some([].into()),
        ..Reading::default()
    };
    let of_table = |step: &Step| matches!(step, Step::Ipvs(_));
    for step in of_one_real().iter().chain(&of_one_service()) {
        assert_eq!(step.doubt(&mut mirror), of_table(step), "{step}");
        assert!(mirror.snat.is_some(), "{step}");
    }
    for step in &of_all() {
        let before = mirror.snat.is_some();
        assert!(!step.doubt(&mut mirror), "{step}");
        let is_known = before && !matches!(step, Step::SetSnat(_));
        assert_eq!(mirror.snat.is_some(), is_known, "{step}");
    }
}

#[test]
fn what_was_done_is_in_the_mirror() {
    let mut mirror = Reading::default();
    mirror.sysctls.insert(sysctl(), "0".to_owned());
    for step in &of_all()[..3] {
        assert!(step.reflect(&mut mirror), "{step}");
    }
    assert!(mirror.sysctls.is_empty());
    assert_eq!(mirror.snat, Some([id()].into()));
    let addresses = &mirror.addresses;
    assert_eq!(
        (&addresses.present, &addresses.ours),
        (&[vip()].into(), &[vip()].into())
    );
    for step in &of_all()[3..] {
        assert!(step.reflect(&mut mirror), "{step}");
    }
    let addresses = &mirror.addresses;
    assert!(addresses.present.is_empty() && addresses.ours.is_empty());
}

#[test]
fn a_command_that_the_mirror_cannot_follow_is_not_sure() {
    let mut mirror = Reading::default();
    let [add, _, remove, forget] = of_one_real();
    assert!(!add.reflect(&mut mirror), "its service is not there");
    let service = VirtualService::new(settings(), Vec::new());
    mirror.table.insert(id(), service);
    assert!(add.reflect(&mut mirror));
    let reals = |mirror: &Reading| mirror.table.get(&id()).unwrap().reals().to_vec();
    assert_eq!(reals(&mirror), [real()]);
    assert!(forget.reflect(&mut mirror));
    assert_eq!(reals(&mirror), [real()]);
    assert!(remove.reflect(&mut mirror));
    assert!(reals(&mirror).is_empty());
}
