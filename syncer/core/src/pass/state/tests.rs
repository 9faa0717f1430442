//! What a pass publishes: of whole and part the same, and what did not change as it was.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipvs::{
    Forwarding, RealServer, Scheduler, ServiceId, ServiceSettings, Table, Thresholds,
    VirtualService, Weight,
};
use proptest::prelude::*;

use super::*;
use crate::desired::{Declared, Desired, DesiredService, Endpoint, SavedTable, Scope, Want};
use crate::model::policy::Ownership;
use crate::model::safeguard::Safeguards;
use crate::model::{AllocId, Moment};
use crate::plan::{Drain, Drains};

const SERVICES: u8 = 5;
const REALS: u8 = 4;

fn id(service: u8) -> ServiceId {
    format!("198.18.0.{}:80", 100 + service).parse().unwrap()
}

fn address(real: u8) -> SocketAddr {
    SocketAddr::from(([198, 18, 1, real], 80))
}

fn real(number: u8, weight: u32) -> RealServer {
    RealServer {
        address: address(number),
        weight: Weight::saturating(weight),
        forwarding: Forwarding::Masquerade,
        thresholds: Thresholds::default(),
    }
}

#[derive(Default)]
struct Model {
    desired: Desired,
    table: Table,
    drains: Drains,
}

/// Something of one service changes.
#[derive(Debug, Clone)]
enum Change {
    Want(u8, Vec<u8>),
    Forsake(u8),
    Have(u8, Vec<(u8, u32)>),
    Lack(u8),
    Drain(u8, u8),
    Drained(u8, u8),
}

fn change() -> impl Strategy<Value = Change> {
    let service = 0..SERVICES;
    let real = 0..REALS;
    let reals = proptest::collection::vec(real.clone(), 0..4);
    let weighted = proptest::collection::vec((real.clone(), 0_u32..3), 0..4);
    prop_oneof![
        (service.clone(), reals).prop_map(|(s, r)| Change::Want(s, r)),
        service.clone().prop_map(Change::Forsake),
        (service.clone(), weighted).prop_map(|(s, r)| Change::Have(s, r)),
        service.clone().prop_map(Change::Lack),
        (service.clone(), real.clone()).prop_map(|(s, r)| Change::Drain(s, r)),
        (service, real).prop_map(|(s, r)| Change::Drained(s, r)),
    ]
}

impl Model {
    /// Which service it was.
    fn change(&mut self, change: &Change) -> ServiceId {
        let settings = ServiceSettings::new(Scheduler::WRR);
        match change {
            Change::Want(service, reals) => {
                let endpoint = |number: &u8| Endpoint {
                    address: address(*number),
                    want: Want::Keep,
                    phase: None,
                    health: None,
                    alloc: Some(AllocId(u128::from(*number))),
                    held: false,
                };
                let reals: BTreeSet<u8> = reals.iter().copied().collect();
                let wanted = DesiredService {
                    name: format!("service-{service}").into(),
                    settings,
                    forwarding: Forwarding::Masquerade,
                    snat: true,
                    drain: Duration::ZERO,
                    safeguards: Safeguards::default(),
                    declared: Declared::Tags,
                    complete: true,
                    endpoints: reals.iter().map(endpoint).collect(),
                };
                self.desired.services.insert(id(*service), Arc::new(wanted));
                id(*service)
            }
            Change::Forsake(service) => {
                self.desired.services.remove(&id(*service));
                id(*service)
            }
            Change::Have(service, reals) => {
                let reals = reals.iter().map(|(number, weight)| real(*number, *weight));
                let service = id(*service);
                self.table
                    .insert(service, VirtualService::new(settings, reals.collect()));
                service
            }
            Change::Lack(service) => {
                self.table.remove(&id(*service));
                id(*service)
            }
            Change::Drain(service, number) => {
                let (since, deadline) = (Moment(1), Moment(2));
                let drain = Drain { since, deadline };
                self.drains
                    .0
                    .insert((id(*service), address(*number)), drain);
                id(*service)
            }
            Change::Drained(service, number) => {
                self.drains.0.remove(&(id(*service), address(*number)));
                id(*service)
            }
        }
    }

    fn publish(&self, state: &mut PassState, scope: &Scope) {
        let ownership = Ownership::of(vec!["198.18.0.0/24".parse().unwrap()]);
        let world = World {
            desired: &self.desired,
            table: &self.table,
            drains: &self.drains,
            last: &SavedTable::default(),
            ownership: &ownership,
        };
        state.follow(scope, &world);
    }
}

proptest! {
    #[test]
    fn following_what_changed_comes_to_the_same_as_looking_at_all(changes in proptest::collection::vec(change(), 1..40)) {
        let (mut model, mut part) = (Model::default(), PassState::default());
        let mut whole = PassState::default();
        for change in &changes {
            let changed = model.change(change);
            model.publish(&mut part, &Scope::Only([changed].into()));
            model.publish(&mut whole, &Scope::Whole);
            prop_assert_eq!(&part.services, &whole.services);
            let reals = |(id, service): (&ServiceId, &VirtualService)| {
                service.reals().iter().map(|real| (real.address, *id)).collect::<Vec<_>>()
            };
            let addresses: BTreeSet<_> = model.table.iter().flat_map(reals).collect();
            let found = addresses.iter().filter(|(address, id)| part.at(*address).any(|(other, _)| other == *id));
            prop_assert_eq!(found.count(), addresses.len());
            // And no other.
            prop_assert_eq!(part.places.len(), (addresses.len(), part.services.len()));
        }
    }
}

#[test]
fn of_an_address_all_virtual_services_are_found_that_send_to_it() {
    let (mut model, mut state) = (Model::default(), PassState::default());
    model.change(&Change::Have(0, vec![(1, 1), (2, 0)]));
    model.change(&Change::Have(1, vec![(1, 2)]));
    model.change(&Change::Want(1, vec![1, 3]));
    model.publish(&mut state, &Scope::Whole);
    let at = |number| -> Vec<(ServiceId, u32)> {
        let reals = state.at(address(number));
        reals.map(|(id, weight)| (id, weight.get())).collect()
    };
    assert_eq!(at(1), [(id(0), 1), (id(1), 2)]);
    assert_eq!(at(2), [(id(0), 0)]);
    assert!(at(3).is_empty(), "wanted, and not there");
    let of_alloc: Vec<_> = state.of_alloc(AllocId(1)).collect();
    assert_eq!(of_alloc, [(id(1), address(1), Weight::saturating(2))]);
}

#[test]
fn what_did_not_change_is_shared_and_what_is_on_its_way_out_keeps_its_name() {
    let (mut model, mut state) = (Model::default(), PassState::default());
    for service in 0..2 {
        model.change(&Change::Want(service, vec![1]));
        model.change(&Change::Have(service, vec![(1, 1)]));
    }
    model.publish(&mut state, &Scope::Whole);
    let before = state.clone();
    model.change(&Change::Forsake(1));
    for scope in [Scope::Only([id(1)].into()), Scope::Whole] {
        let mut state = before.clone();
        model.publish(&mut state, &scope);
        assert!(Arc::ptr_eq(
            &before.services[&id(0)],
            &state.services[&id(0)]
        ));
        let leaving = &state.services[&id(1)];
        assert_eq!((&*leaving.name, leaving.snat), ("service-1", true));
        assert!(leaving.wanted.is_none() && leaving.actual.is_some());
    }
}

#[test]
fn of_each_real_server_it_is_known_how_it_goes_and_until_when() {
    let (mut model, mut state) = (Model::default(), PassState::default());
    model.change(&Change::Have(0, vec![(1, 0), (2, 1)]));
    model.change(&Change::Drain(0, 1));
    let direct = RealServer {
        forwarding: Forwarding::DirectRouting,
        ..real(3, 1)
    };
    let settings = ServiceSettings::new(Scheduler::WRR);
    let service = VirtualService::new(settings, vec![direct]);
    model.table.insert(id(1), service);
    model.publish(&mut state, &Scope::Whole);
    let (since, deadline) = (Moment(1), Moment(2));
    let service = &state.services[&id(0)];
    let expected = Drain { since, deadline };
    assert_eq!(service.drain(address(1)), Some(&expected));
    assert_eq!(service.drain(address(2)), None);
    assert!(state.is_direct(&id(1), address(3)));
    assert!(!state.is_direct(&id(0), address(2)));
    assert!(!state.is_direct(&id(1), address(2)), "it is not there");
}

#[test]
fn what_is_rejected_is_published_and_taken_back() {
    let (mut model, mut state) = (Model::default(), PassState::default());
    let rejected = ("web".into(), Rejected::because("for no reason"));
    for all in [vec![rejected], Vec::new()] {
        model.desired.rejected.clone_from(&all);
        model.publish(&mut state, &Scope::Only([].into()));
        assert_eq!(state.rejected[..], all);
    }
}

#[test]
fn readers_tests_get_what_a_pass_publishes() {
    let (mut model, mut state) = (Model::default(), PassState::default());
    model.change(&Change::Want(0, vec![1]));
    model.change(&Change::Have(0, vec![(1, 1)]));
    model.publish(&mut state, &Scope::Whole);
    let mut whole = PassState::default();
    whole.follow_whole(&model.desired, &model.table);
    assert_eq!(whole.services, state.services);
}
