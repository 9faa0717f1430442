//! What is decided anew, and that nothing else had to be.

mod once_more;
mod world;

use proptest::prelude::*;

use super::*;
use world::{Event, IN_THE_RANGE, World, any_event};

const WEB: &str = "web";
const API: &str = "api";
/// Two services with a VIP, the one from the config file, the other from its tags.
fn two() -> World {
    let web = vec![
        instance(1, Health::Passing, None),
        instance(2, Health::Passing, Some(2)),
    ];
    let api = [3, 8]
        .map(|port| instance(port, Health::Passing, None))
        .to_vec();
    World::of(
        Case::new()
            .configured(WEB, VIP)
            .service(WEB, None, web)
            .service(API, Ask::from(vip(OTHER)), api)
            .last(saved("gone", IN_THE_RANGE[2], &[1])),
    )
}

#[test]
fn what_differs_by_one_or_by_another_differs() {
    let both = only(&[VIP]).and(only(&[OTHER]));
    assert_eq!(both, only(&[VIP, OTHER]));
    assert_eq!(only(&[VIP]).and(Scope::Whole), Scope::Whole);
    assert_eq!(Scope::Whole.and(only(&[VIP])), Scope::Whole);
}

#[test]
fn what_came_from_the_disk_does_not_stay_once_all_is_read() {
    let mut world = two();
    world.happen(&Event::Unread(true));
    let mut desired = world.whole();
    assert_eq!(desired.services.len(), 3);
    world.happen(&Event::Unread(false));
    assert_eq!(world.renew(&mut desired), Scope::Whole);
    assert_eq!(desired.services.len(), 2);
}

#[test]
fn what_was_refused_is_not_refused_for_ever() {
    for looped in [true, false] {
        let mut world = two();
        world.happen(&Event::Impossible(0, looped));
        let mut desired = world.whole();
        assert_eq!(desired.rejected.len(), 1);
        world.service(WEB).instances.pop();
        world.renew(&mut desired);
        assert!(desired.rejected.is_empty());
    }
}

#[test]
fn what_was_rejected_elsewhere_costs_a_change_nothing() {
    let mut world = two();
    world.service("db").instances = vec![Instance {
        tags: asking(unreadable()),
        ..instance(4, Health::Passing, None)
    }];
    let mut desired = world.whole();
    assert_eq!(desired.rejected.len(), 1);
    world.happen(&Event::Instance(0, 1, Health::Critical));
    assert_eq!(world.renew(&mut desired), only(&[VIP]));
    assert_eq!(desired.rejected.len(), 1);
    // And what is rejected of the service itself is as it is now.
    world.service("db").instances[0].tags = Arc::default();
    assert_eq!(world.renew(&mut desired), only(&[]));
    assert!(desired.rejected.is_empty());
}

#[test]
fn a_service_that_comes_last_is_not_overlooked() {
    let mut world = two();
    let mut desired = world.whole();
    world.service("zeta").instances = vec![Instance {
        tags: asking(Ask::from(vip(IN_THE_RANGE[2]))),
        ..instance(7, Health::Passing, None)
    }];
    assert_eq!(world.renew(&mut desired), Scope::Whole);
    Arc::make_mut(&mut world.catalog).services.remove("zeta");
    assert_eq!(world.renew(&mut desired), Scope::Whole);
    world.catalog = Arc::new(Catalog {
        unread: ["zeta".into()].into(),
        ..(*world.catalog).clone()
    });
    assert_eq!(world.renew(&mut desired), Scope::Whole);
}

#[test]
fn a_service_is_known_by_its_name_not_by_where_the_name_is_kept() {
    let mut world = two();
    let mut desired = world.whole();
    let services = &world.catalog.services;
    let anew = services
        .iter()
        .map(|(name, service)| (Arc::from(&**name), Arc::clone(service)));
    world.catalog = Arc::new(Catalog {
        services: anew.collect(),
        ..Catalog::default()
    });
    assert_eq!(world.renew(&mut desired), only(&[]));
}

fn only(vips: &[&str]) -> Scope {
    Scope::Only(vips.iter().map(|vip| id(vip)).collect())
}

/// How much is decided anew after an event, from a world where all is well.
fn after(event: &Event) -> Scope {
    let mut world = two();
    let mut desired = world.whole();
    world.happen(event);
    world.renew(&mut desired)
}

#[test]
fn what_happens_to_one_service_concerns_no_other() {
    assert_eq!(
        after(&Event::Instance(0, 1, Health::Critical)),
        only(&[VIP])
    );
    assert_eq!(after(&Event::Gone(1, 3)), only(&[OTHER]));
    assert_eq!(after(&Event::Hint(2, Some(Phase::Stopping))), only(&[VIP]));
    assert_eq!(after(&Event::Took(1, 3)), only(&[OTHER]));
}

#[test]
fn what_nobody_balances_concerns_nobody() {
    assert_eq!(after(&Event::Hint(4, Some(Phase::Stopping))), only(&[]));
    let mut world = two();
    world.service("db").instances = Vec::new();
    let mut desired = world.whole();
    world.happen(&Event::Instance(2, 4, Health::Passing));
    assert_eq!(world.renew(&mut desired), only(&[]));
}

#[test]
fn what_may_concern_any_service_concerns_all() {
    for event in [
        Event::Nomad(Some(ClientStatus::Running)),
        Event::Awaited(true),
        Event::Tagged(1, None, Some(Ok(2))),
        Event::Tagged(1, None, None),
        Event::Host(0, 0),
        Event::Occupied(true),
        Event::ServiceGone(1),
        Event::Instance(2, 4, Health::Passing),
        Event::Unread(true),
    ] {
        assert_eq!(after(&event), Scope::Whole, "{event:?}");
    }
}

#[test]
fn a_loop_that_appears_is_refused_as_ever() {
    let mut world = two();
    let mut desired = world.whole();
    let looped = Instance {
        address: OTHER.parse().unwrap(),
        ..instance(9, Health::Passing, None)
    };
    world.service(WEB).instances.push(looped);
    assert_eq!(world.renew(&mut desired), Scope::Whole);
    assert_eq!(desired.rejected.len(), 1);
}

proptest! {
    #[test]
    fn whatever_happens_it_comes_to_the_same_as_the_whole(
        events in proptest::collection::vec(any_event(), 1..20)
    ) {
        let mut world = two();
        let mut desired = world.whole();
        for event in &events {
            let before = desired.services.clone();
            world.happen(event);
            let scope = world.renew(&mut desired);
            let whole = world.whole();
            prop_assert_eq!(&desired.services, &whole.services, "{:?}", event);
            prop_assert_eq!(&desired.rejected, &whole.rejected);
            prop_assert_eq!(
                (&desired.hints, desired.awaited, desired.complete),
                (&whole.hints, whole.awaited, whole.complete)
            );
            let Scope::Only(ids) = scope else { continue };
            for (id, service) in &desired.services {
                prop_assert!(ids.contains(id) || before.get(id) == Some(service), "{}", id);
            }
            prop_assert_eq!(before.len(), desired.services.len());
        }
    }
}
