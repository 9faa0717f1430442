//! What holds for every plan.

use std::sync::Arc;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use ipvs::{ServiceId, Table, VirtualService};
use proptest::prelude::*;

use super::any::{PORTS, World, any_desired, any_world};
use super::plain_service;
use super::world::{address, id, real, service_with, settings, weight};
use crate::desired::{Desired, DesiredService, Endpoint, Scope, Want};
use crate::plan::{Addresses, Drains, Plan, Ramps, SnatSet, Step};

/// A service that was not read is left as it is where there is anything of it.
fn is_left(desired: &Desired, service: &DesiredService, before: &VirtualService) -> bool {
    let read = desired.complete && service.complete;
    !read && !before.reals().is_empty()
}

/// What was read of everything; what was not is left as it is, so that a crash in the middle of it has its own end.
fn all_read(mut desired: Desired) -> Desired {
    desired.complete = true;
    for service in desired.services.values_mut() {
        Arc::make_mut(service).complete = true;
    }
    desired
}

/// Whether a settled table is what was desired, given what was there at first.
fn fulfilled(desired: &Desired, before: &Table, after: &Table) -> Result<(), TestCaseError> {
    for (id, service) in &desired.services {
        let current = after
            .get(id)
            .ok_or_else(|| TestCaseError::fail(format!("{id} is missing")))?;
        if let Some(before) = before
            .get(id)
            .filter(|before| is_left(desired, service, before))
        {
            prop_assert_eq!(current, before, "{} was not read", id);
            continue;
        }
        prop_assert_eq!(current.settings, service.settings);
        for Endpoint { address, want, .. } in &service.endpoints {
            let first = before
                .get(id)
                .and_then(|before| before.real(*address))
                .map(|real| real.weight);
            let last = current.real(*address).map(|real| real.weight);
            let expected = match want {
                Want::Serve(weight) => Some(*weight),
                Want::Warm(weight) | Want::Doubt(weight) => {
                    first.map(|first| if first.serves() { *weight } else { first })
                }
                Want::Quiesce => first.map(|_| ipvs::Weight::ZERO),
                Want::Drain | Want::Remove => None,
                Want::Keep => first,
                Want::Substitute => {
                    let serves =
                        |real: &ipvs::RealServer| real.address != *address && real.weight.serves();
                    let is_served = current.reals().iter().any(serves);
                    (!is_served).then_some(ipvs::Weight::ONE)
                }
            };
            prop_assert_eq!(last, expected, "{} {} {:?}", id, address, want);
        }
        let known: BTreeSet<SocketAddr> = service
            .endpoints
            .iter()
            .map(|endpoint| endpoint.address)
            .collect();
        let strangers = current
            .reals()
            .iter()
            .filter(|real| !known.contains(&real.address))
            .count();
        prop_assert!(
            !desired.complete || !service.complete || strangers == 0,
            "{id} has {strangers} strangers"
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn applying_the_plan_yields_what_is_desired_and_then_nothing_is_left(world in any_world(), desired in any_desired()) {
        let mut after = world.clone();
        after.settle(&desired);
        fulfilled(&desired, &world.table, &after.table)?;
        let snat: SnatSet = desired.services.iter().filter(|(_, s)| s.snat).map(|(id, _)| *id).collect();
        prop_assert!(after.snat.unwrap_or_default().is_superset(&snat));
    }

    #[test]
    fn from_any_prefix_of_the_steps_the_next_plan_leads_to_the_same_end(
        world in any_world(), desired in any_desired(), cut in 0_usize..30
    ) {
        let desired = all_read(desired);
        let mut whole = world.clone();
        whole.settle(&desired);
        let mut crashed = world;
        let steps = crashed.plan(&desired, true).steps;
        for step in steps.iter().take(cut) {
            crashed.step(step);
        }
        crashed.settle(&desired);
        prop_assert_eq!(crashed.table, whole.table);
        prop_assert_eq!(crashed.addresses, whole.addresses);
    }

    #[test]
    fn a_service_that_serves_before_and_after_serves_at_every_step(world in any_world(), desired in any_desired()) {
        let mut after = world.clone();
        after.run(&desired, true);
        let kept: Vec<ServiceId> = world.table.iter().map(|(id, _)| *id)
            .filter(|id| world.serving(id) && after.serving(id)).collect();
        let mut between = world.clone();
        for step in &world.plan(&desired, true).steps {
            between.step(step);
            for id in &kept {
                prop_assert!(between.serving(id), "{id} serves nobody after {step}");
            }
        }
    }

    #[test]
    fn what_is_not_ours_stays_as_it_is(world in any_world(), desired in any_desired()) {
        let foreign: ServiceId = "192.0.2.1:80".parse().unwrap();
        let mut after = world.clone();
        after.settle(&desired);
        prop_assert_eq!(after.table.get(&foreign), world.table.get(&foreign));
    }

    #[test]
    fn with_sources_unread_nothing_is_removed_or_lowered_that_they_did_not_name(
        world in any_world(), desired in any_desired()
    ) {
        let desired = Desired { complete: false, ..desired };
        for step in world.plan(&desired, true).steps {
            match step {
                Step::Ipvs(ipvs::Command::RemoveService(_)) | Step::RemoveVip(_) => prop_assert!(false, "{step}"),
                Step::Ipvs(ipvs::Command::RemoveReal(id, address)) => {
                    let named = desired.services.get(&id).is_some_and(|s| s.endpoints.iter().any(|e| e.address == address));
                    prop_assert!(named, "{id} -> {address}");
                }
                Step::SetSnat(services) => {
                    prop_assert!(world.snat.clone().unwrap_or_default().is_subset(&services));
                }
                _ => {}
            }
        }
    }

    #[test]
    fn no_drain_outlives_its_deadline_by_more_than_one_pass(world in any_world(), desired in any_desired()) {
        let desired = all_read(desired);
        let mut world = world;
        world.run(&desired, false);
        let plan = world.plan(&desired, false);
        if let Some(last) = plan.drains.0.values().map(|drain| drain.deadline.0).max() {
            prop_assert!(plan.wake_at.is_some());
            world.drains = plan.drains;
            world.now = last;
            let after = world.plan(&desired, false);
            prop_assert!(after.drains.0.is_empty());
        }
    }

    #[test]
    fn drains_are_only_of_real_servers_that_are_there_with_weight_zero_afterwards(
        world in any_world(), desired in any_desired()
    ) {
        let mut after = world;
        after.run(&desired, true);
        for (id, address) in after.drains.0.keys() {
            let real = after.table.get(id).and_then(|service| service.real(*address));
            prop_assert!(real.is_some_and(|real| !real.weight.serves()), "{id} -> {address}");
        }
    }
}

#[test]
fn a_plan_of_equal_tables_is_empty() {
    let wants: Vec<(u16, Want)> = (1..=PORTS)
        .map(|port| (port, Want::Serve(weight(u32::from(port)))))
        .collect();
    let reals = (1..=PORTS)
        .map(|port| real(port, u32::from(port)))
        .collect();
    let mut world = World {
        table: [(id(80), VirtualService::new(settings("rr"), reals))]
            .into_iter()
            .collect(),
        addresses: Addresses::default(),
        snat: Some(SnatSet::new()),
        drains: Drains::default(),
        ramps: Ramps::new(),
        now: 0,
    };
    world
        .addresses
        .present
        .insert("198.18.0.29".parse().unwrap());
    let services = [(id(80), Arc::new(service_with(&wants)))].into();
    let desired = Desired {
        services,
        complete: true,
        ..Desired::default()
    };
    let settled = Plan {
        next: Scope::Only(BTreeSet::new()),
        ..Plan::default()
    };
    assert_eq!(world.plan(&desired, true), settled);
    assert!(plain_service(Vec::new()).endpoints.is_empty());
    assert_eq!(address(1).port(), 1);
}
