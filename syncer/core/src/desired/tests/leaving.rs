//! What is remembered of a virtual service that is on its way out.

use super::*;

const THREE: Duration = Duration::from_secs(3);

fn of(case: &Case) -> ipvs::Table {
    let reals = vec![saved("web", VIP, &[1]).reals[0]];
    let service = ipvs::VirtualService::new(vip(VIP).settings, reals);
    let count = case.desired().services.len() + case.last.iter().count();
    (count > 0)
        .then_some((id(VIP), service))
        .into_iter()
        .collect()
}

#[test]
fn the_drain_deadline_that_was_in_force_outlives_the_service_until_it_is_gone() {
    let vip = VipPolicy {
        drain: Some(THREE),
        ..vip(VIP)
    };
    let instances = vec![instance(1, Health::Passing, None)];
    let mut case = Case::new().service("web", Ask::from(vip), instances);
    let table = of(&case);
    let keep = |case: &mut Case, table: &ipvs::Table| {
        let desired = case.desired();
        case.last.renew(&Scope::Whole, &desired, table);
    };
    keep(&mut case, &table);
    let of_vip = |case: &Case| case.last.get(&id(VIP)).cloned().unwrap();
    assert_eq!(
        (of_vip(&case).drain, of_vip(&case).leaving),
        (Some(THREE), false)
    );
    case.catalog.services.clear();
    for _ in 0..2 {
        let desired = case.desired();
        assert!(desired.services.is_empty());
        assert_eq!(desired.leaving, [(id(VIP), THREE)].into());
        keep(&mut case, &table);
        assert!(of_vip(&case).leaving && *of_vip(&case).name == *"web");
    }
    keep(&mut case, &ipvs::Table::default());
    assert_eq!(case.last, SavedTable::default());
}

#[test]
fn one_that_leaves_comes_back_by_no_list_that_is_unread_and_has_no_right_to_its_vip() {
    let leaving = SavedService {
        leaving: true,
        ..saved("old", VIP, &[1])
    };
    let mut case = Case::new()
        .service("aaa", Ask::from(vip(VIP)), Vec::new())
        .service("old", Ask::from(vip(VIP)), Vec::new())
        .last(leaving);
    assert_eq!(case.owners(), ["tcp://198.18.0.29:80 aaa"]);
    case.catalog.services.clear();
    case.catalog.unlisted = true;
    assert!(case.owners().is_empty());
}

#[test]
fn a_state_that_an_older_version_wrote_is_read() {
    let mut text = serde_json::to_value(saved("web", VIP, &[1])).unwrap();
    let fields = text.as_object_mut().unwrap();
    fields.remove("drain");
    fields.remove("leaving");
    let read: SavedService = serde_json::from_value(text).unwrap();
    assert_eq!(read, saved("web", VIP, &[1]));
}
