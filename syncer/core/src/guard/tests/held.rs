//! What a real server that is held looks like to a plan.

use super::*;
use crate::desired::SavedService;
use crate::model::safeguard::Safeguards;

fn keep_of(desired: &mut Desired, last: impl IntoIterator<Item = SavedService>) {
    let evidence = Evidence {
        table: &table(),
        last: &last.into_iter().collect(),
        catalog: None,
        confirmations: 0,
        restarts: 0,
    };
    let losses = guard(
        desired,
        &evidence,
        &policy(),
        &Losses::default(),
        Moment(1_000),
    );
    assert!(losses.hold.is_some());
}

fn saved(service: u16, name: &str) -> SavedService {
    SavedService {
        drain: None,
        safeguards: Safeguards::default(),
        leaving: false,
        name: name.into(),
        id: id(service),
        settings: ServiceSettings::new(Scheduler::WRR),
        forwarding: Forwarding::DirectRouting,
        snat: true,
        reals: Arc::default(),
    }
}

#[test]
fn a_service_that_vanished_with_its_instances_is_held_as_the_disk_has_it() {
    let mut none = Desired {
        complete: true,
        ..Desired::default()
    };
    keep_of(&mut none, [saved(1, "other"), saved(0, "web")]);
    let web = &none.services[&id(0)];
    let service = (&*web.name, web.forwarding, web.snat, web.declared);
    let expected = ("web", Forwarding::DirectRouting, true, Declared::Disk);
    assert_eq!(service, expected);
    assert_eq!(web.endpoints[0].want, Want::Keep);
    let unknown = &none.services[&id(2)];
    let service = (&*unknown.name, unknown.forwarding, unknown.snat);
    let expected = ("tcp://198.18.0.29:82", Forwarding::Masquerade, false);
    assert_eq!(service, expected);
}

#[test]
fn what_is_held_stands_in_order_of_address_between_the_others() {
    let mut some = desired(|_| false, None);
    let beside = |port| Endpoint {
        address: SocketAddr::new(address(0).ip(), port),
        want: Want::Serve(Weight::ONE),
        phase: None,
        health: None,
        alloc: None,
        held: false,
    };
    let service = some.services.get_mut(&id(0)).unwrap();
    Arc::make_mut(service).endpoints = vec![beside(1), beside(60_000)];
    keep_of(&mut some, []);
    let endpoints = &some.services[&id(0)].endpoints;
    let ports: Vec<u16> = endpoints.iter().map(|one| one.address.port()).collect();
    assert_eq!(ports, [1, 20_000, 60_000]);
    assert!(endpoints[1].held && !endpoints[0].held);
}

#[test]
fn a_sorry_server_that_the_policy_does_not_name_any_more_is_no_loss() {
    let mut none = desired(|service| service > 0, None);
    let safeguards = Safeguards {
        sorry_server: Some(address(0)),
        ..Safeguards::default()
    };
    let sorry = SavedService {
        safeguards,
        ..saved(0, "service-0")
    };
    let losses = |last: SavedService, desired: &mut Desired| {
        let evidence = Evidence {
            table: &table(),
            last: &[last].into_iter().collect(),
            catalog: None,
            confirmations: 0,
            restarts: 0,
        };
        let policy = Policy {
            shrink_percent: 1,
            ..policy()
        };
        guard(
            desired,
            &evidence,
            &policy,
            &Losses::default(),
            Moment(1_000),
        )
        .hold
    };
    assert_eq!(losses(sorry, &mut none.clone()), None);
    assert!(
        losses(saved(0, "service-0"), &mut none).is_some(),
        "an instance is"
    );
}
