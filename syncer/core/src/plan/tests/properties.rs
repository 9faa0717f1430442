//! What holds for every plan.

use std::sync::Arc;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ipvs::{Connections, ServiceId, Table, VirtualService};
use proptest::prelude::*;

use super::world::{address, id, real, service_with, settings, weight};
use super::{ownership, plain_service};
use crate::desired::{Desired, DesiredService, Endpoint, Scope, Want};
use crate::model::Moment;
use crate::plan::{Addresses, Drains, Observed, Plan, Ramps, SnatSet, Step, Sysctls, plan};

const PORTS: u16 = 5;

fn any_want() -> impl Strategy<Value = Want> {
    prop_oneof![
        4 => (1_u32..3).prop_map(|w| Want::Serve(weight(w))),
        1 => Just(Want::Warm(weight(1))),
        1 => Just(Want::Doubt(weight(1))),
        2 => Just(Want::Quiesce),
        2 => Just(Want::Drain),
        1 => Just(Want::Remove),
        1 => Just(Want::Keep),
    ]
}

fn any_service() -> impl Strategy<Value = DesiredService> {
    let wants = proptest::collection::vec(proptest::option::of(any_want()), usize::from(PORTS));
    let complete = prop::bool::weighted(0.85);
    (
        wants,
        prop_oneof![Just("rr"), Just("wlc")],
        any::<bool>(),
        complete,
        prop::bool::weighted(0.2),
    )
        .prop_map(|(mut wants, scheduler, snat, complete, sorry)| {
            if let Some(last) = wants.last_mut().filter(|_| sorry) {
                *last = Some(Want::Substitute);
            }
            let wants: Vec<(u16, Want)> = (1..)
                .zip(wants)
                .filter_map(|(port, want)| Some((port, want?)))
                .collect();
            DesiredService {
                settings: settings(scheduler),
                snat,
                complete,
                ..service_with(&wants)
            }
        })
}

pub(super) fn any_desired() -> impl Strategy<Value = Desired> {
    let services = proptest::collection::btree_map(80_u16..84, any_service(), 0..4);
    (services, prop::bool::weighted(0.85)).prop_map(|(services, complete)| Desired {
        services: services
            .into_iter()
            .map(|(port, service)| (id(port), Arc::new(service)))
            .collect(),
        complete,
        ..Desired::default()
    })
}

fn any_there() -> impl Strategy<Value = VirtualService> {
    let weights = proptest::collection::vec(proptest::option::of(0_u32..3), usize::from(PORTS));
    (weights, prop_oneof![Just("rr"), Just("wlc")]).prop_map(|(weights, scheduler)| {
        let reals = (1..)
            .zip(weights)
            .filter_map(|(port, weight)| Some(real(port, weight?)));
        VirtualService::new(settings(scheduler), reals.collect())
    })
}

/// A kernel and what we know about it.
#[derive(Debug, Clone)]
pub(super) struct World {
    table: Table,
    addresses: Addresses,
    snat: Option<SnatSet>,
    pub(super) drains: Drains,
    pub(super) ramps: Ramps,
    pub(super) now: u64,
}

pub(super) fn any_world() -> impl Strategy<Value = World> {
    let ours = proptest::collection::btree_map(80_u16..84, any_there(), 0..4);
    (ours, any_there(), any::<bool>(), any::<bool>()).prop_map(|(ours, foreign, vip, snat)| {
        let mut table: Table = ours
            .into_iter()
            .map(|(port, service)| (id(port), service))
            .collect();
        table.insert("192.0.2.1:80".parse().unwrap(), foreign);
        let present: BTreeSet<IpAddr> = if vip {
            ["198.18.0.29".parse().unwrap()].into()
        } else {
            BTreeSet::new()
        };
        let addresses = Addresses {
            present: present.clone(),
            ours: present,
            ..Addresses::default()
        };
        let snat = snat.then(|| [id(80), id(81)].into());
        World {
            table,
            addresses,
            snat,
            drains: Drains::default(),
            ramps: Ramps::new(),
            now: 1_000,
        }
    })
}

impl World {
    pub(super) fn plan(&self, desired: &Desired, counted: bool) -> Plan {
        self.plan_of(desired, counted, &Scope::Whole)
    }

    pub(super) fn plan_of(&self, desired: &Desired, counted: bool, scope: &Scope) -> Plan {
        let mut connections = BTreeMap::new();
        for (id, service) in self.table.iter().filter(|_| counted) {
            for real in service.reals() {
                connections.insert((*id, real.address), Connections::default());
            }
        }
        let observed = Observed {
            table: &self.table,
            applied: &crate::desired::SavedTable::default(),
            connections: &connections,
            ramps: &self.ramps,
            addresses: &self.addresses,
            snat: self.snat.as_ref(),
            snat_lost: false,
            sysctls: &Sysctls::new(),
        };
        plan(
            desired,
            &observed,
            &self.drains,
            &ownership(),
            scope,
            Moment(self.now),
        )
    }

    pub(super) fn step(&mut self, step: &Step) {
        match step {
            Step::Ipvs(command) => self
                .table
                .apply(command)
                .unwrap_or_else(|errno| panic!("{step}: errno {errno}")),
            Step::SetSnat(services) => self.snat = Some(services.clone()),
            Step::AddVip(vip) => {
                assert!(self.addresses.present.insert(*vip), "{step}: is there");
                self.addresses.ours.insert(*vip);
            }
            Step::RemoveVip(vip) => {
                assert!(self.addresses.present.remove(vip), "{step}: is not there");
                self.addresses.ours.remove(vip);
            }
            Step::SetSysctl(_) | Step::ForgetFlows(..) | Step::ForgetUnanswered(_) => {}
        }
    }

    fn run(&mut self, desired: &Desired, counted: bool) {
        let plan = self.plan(desired, counted);
        for step in &plan.steps {
            self.step(step);
        }
        self.drains = plan.drains;
        self.ramps = plan.ramps;
        self.now += 200;
    }

    /// Until nothing is left to do: a quiesce, a removal, and one to see that it was the last.
    fn settle(&mut self, desired: &Desired) {
        for _ in 0..4 {
            self.run(desired, true);
        }
        let left = self.plan(desired, true);
        assert!(left.steps.is_empty(), "{:?}", left.steps);
    }

    fn serving(&self, id: &ServiceId) -> bool {
        self.table
            .get(id)
            .is_some_and(|service| service.reals().iter().any(|real| real.weight.serves()))
    }
}

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
