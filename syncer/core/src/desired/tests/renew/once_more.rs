//! What one look leaves to the next, and what of the table on disk makes it look at all.

use super::*;

#[test]
fn what_comes_and_goes_again_concerns_the_service_both_times() {
    for event in [
        Event::Took(0, 2),
        Event::Refused(0, 2),
        Event::Hint(2, Some(Phase::Stopping)),
    ] {
        let mut world = two();
        let mut desired = world.whole();
        let back = match event {
            Event::Hint(port, _) => Event::Hint(port, None),
            _ => event.clone(),
        };
        for event in [event, back] {
            world.happen(&event);
            assert_eq!(world.renew(&mut desired), only(&[VIP]), "{event:?}");
            assert_eq!(desired.services, world.whole().services, "{event:?}");
        }
        assert_eq!(world.renew(&mut desired), only(&[]));
    }
}

#[test]
fn a_catalogue_that_is_again_what_it_was_is_another_than_the_last_one() {
    let mut world = two();
    let before = Arc::clone(&world.catalog);
    let mut desired = world.whole();
    world.happen(&Event::Instance(0, 1, Health::Critical));
    assert_eq!(world.renew(&mut desired), only(&[VIP]));
    world.catalog = before;
    assert_eq!(world.renew(&mut desired), only(&[VIP]));
    assert_eq!(desired.services, world.whole().services);
}

#[test]
fn what_was_applied_of_a_service_has_a_say_only_where_something_of_it_is_refused() {
    let mut world = two();
    world.case.last = [saved(API, OTHER, &[1; 8])].into_iter().collect();
    let mut desired = world.whole();
    world.happen(&Event::Instance(1, 3, Health::Critical));
    assert_eq!(world.renew(&mut desired), only(&[OTHER]));
    world.happen(&Event::Tagged(1, Some(8), Some(Err(()))));
    assert_eq!(world.renew(&mut desired), Scope::Whole);
    let endpoints = desired.services[&id(OTHER)].endpoints.iter();
    let ports: Vec<u16> = endpoints.map(|one| one.address.port()).collect();
    assert_eq!(ports, [3, 8], "it goes on where it is");
}

#[test]
fn what_changes_nothing_that_is_wanted_concerns_nobody() {
    let mut world = two();
    let mut desired = world.whole();
    world.service(WEB).instances[0].node = "another".into();
    assert_eq!(world.renew(&mut desired), only(&[]));
    world.service(WEB).instances[0].weight_passing = 7;
    assert_eq!(world.renew(&mut desired), only(&[VIP]));
}

#[test]
fn a_service_under_another_name_is_another_whoever_its_instances_are() {
    let mut world = two();
    let mut desired = world.whole();
    let services = &mut Arc::make_mut(&mut world.catalog).services;
    let api = services.remove(API).unwrap();
    services.insert("app".into(), api);
    assert_eq!(world.renew(&mut desired), Scope::Whole);
    assert_eq!(&*desired.services[&id(OTHER)].name, "app");
}

#[test]
fn what_holds_on_holds_only_as_long_as_the_table_on_disk_says_so() {
    let mut world = two();
    world.case.last = [saved(API, OTHER, &[1; 8])].into_iter().collect();
    world.happen(&Event::Tagged(1, Some(8), Some(Err(()))));
    let mut desired = world.whole();
    let count = |desired: &Desired| desired.services[&id(OTHER)].endpoints.len();
    assert_eq!(count(&desired), 2);
    world.case.last = [saved(API, OTHER, &[1; 3])].into_iter().collect();
    assert_eq!(world.renew(&mut desired), Scope::Whole);
    assert_eq!(count(&desired), 1, "it has served nobody");
}
