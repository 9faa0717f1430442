//! A VIP that changes hands is no loss, and its two owners never serve side by side.

use super::*;
use crate::desired::SavedService;
use crate::model::catalog::{CatalogService, Health, Instance, Origin};
use crate::model::safeguard::Safeguards;

/// The catalogue has the real server of service 0 under that name.
fn catalog(name: &str, origin: Option<u128>) -> Catalog {
    let instance = Instance {
        address: address(0),
        health: Health::Passing,
        checked: true,
        weight_passing: 1,
        weight_warning: 1,
        node: "node1".into(),
        origin: origin.map(|alloc| Origin {
            alloc: AllocId(alloc),
        }),
        tags: Arc::default(),
    };
    let service = CatalogService {
        instances: vec![instance],
        ..CatalogService::default()
    };
    Catalog {
        services: [(name.into(), Arc::new(service))].into(),
        ..Catalog::default()
    }
}

/// The VIP of service 0 has another owner with real servers of its own.
fn taken_over() -> Desired {
    let mut all = desired(|service| service > 0, Some(running()));
    let service = Arc::make_mut(all.services.get_mut(&id(0)).unwrap());
    service.name = "heir".into();
    service.endpoints.push(Endpoint {
        address: "198.18.0.12:1".parse().unwrap(),
        want: Want::Serve(Weight::ONE),
        phase: None,
        health: None,
        alloc: None,
        held: false,
    });
    all
}

fn saved() -> SavedService {
    SavedService {
        name: "web".into(),
        id: id(0),
        settings: ServiceSettings::new(Scheduler::WRR),
        forwarding: Forwarding::Masquerade,
        snat: false,
        drain: None,
        safeguards: Safeguards::default(),
        leaving: false,
        reals: Arc::default(),
    }
}

fn guarded(all: &mut Desired, catalog: &Catalog) -> Losses {
    let evidence = Evidence {
        table: &table(),
        last: &[saved()].into_iter().collect(),
        catalog: Some(catalog),
        confirmations: 0,
        restarts: 0,
    };
    guard(all, &evidence, &policy(), &Losses::default(), Moment(1))
}

#[test]
fn what_the_catalogue_has_elsewhere_is_not_lost() {
    let mut all = taken_over();
    let losses = guarded(&mut all, &catalog("web", Some(0)));
    assert_eq!(losses, Losses::default());
    let service = &all.services[&id(0)];
    assert_eq!((&*service.name, service.endpoints.len()), ("heir", 1));
}

#[test]
fn another_one_at_the_same_address_explains_nothing() {
    let mut all = taken_over();
    assert!(guarded(&mut all, &catalog("web", Some(77))).hold.is_some());
    let mut all = taken_over();
    assert!(guarded(&mut all, &catalog("web", None)).hold.is_some());
}

#[test]
fn while_the_old_owners_loss_is_uncertain_the_new_one_waits() {
    let mut all = taken_over();
    let losses = guarded(&mut all, &Catalog::default());
    assert!(losses.hold.is_some());
    let service = &all.services[&id(0)];
    let endpoints: Vec<(SocketAddr, Want)> = service
        .endpoints
        .iter()
        .map(|endpoint| (endpoint.address, endpoint.want))
        .collect();
    assert_eq!(&*service.name, "web");
    assert_eq!(endpoints, [(address(0), Want::Keep)]);
    assert!(
        all.rejected
            .iter()
            .any(|(name, why)| { **name == *"heir" && why.reason.contains("kept for web") })
    );
}
