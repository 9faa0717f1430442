//! Any desired state and any kernel, of few services and few addresses: what matters is met often.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipvs::{Connections, ServiceId, Table, VirtualService};
use proptest::prelude::*;

use super::ownership;
use super::world::{id, real, service_with, settings, weight};
use crate::desired::{Desired, DesiredService, Scope, Want};
use crate::model::Moment;
use crate::plan::{Addresses, Drains, Observed, Plan, Ramps, SnatSet, Step, Sysctls, plan};

pub(super) const PORTS: u16 = 5;

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
    pub(super) table: Table,
    pub(super) addresses: Addresses,
    pub(super) snat: Option<SnatSet>,
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

    pub(super) fn run(&mut self, desired: &Desired, counted: bool) {
        let plan = self.plan(desired, counted);
        for step in &plan.steps {
            self.step(step);
        }
        self.drains = plan.drains;
        self.ramps = plan.ramps;
        self.now += 200;
    }

    /// Until nothing is left to do: a quiesce, a removal, and one to see that it was the last.
    pub(super) fn settle(&mut self, desired: &Desired) {
        for _ in 0..4 {
            self.run(desired, true);
        }
        let left = self.plan(desired, true);
        assert!(left.steps.is_empty(), "{:?}", left.steps);
    }

    pub(super) fn serving(&self, id: &ServiceId) -> bool {
        self.table
            .get(id)
            .is_some_and(|service| service.reals().iter().any(|real| real.weight.serves()))
    }
}
