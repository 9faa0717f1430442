//! Who asks for a VIP, by the config file, by tags or by what the disk remembers, and who does not get it.

use super::*;

fn passing() -> Vec<Instance> {
    vec![instance(1, Health::Passing, None)]
}

#[test]
fn a_configured_service_finds_its_instances_whatever_else_the_catalogue_has() {
    let case = Case::new()
        .configured("web", VIP)
        .configured("wiki", OTHER)
        .service("aaa", None, Vec::new())
        .service("web", None, passing())
        .service("weg", None, Vec::new())
        .service("wiki", None, passing())
        .service("zzz", None, Vec::new());
    assert_eq!(case.wants(), [Want::Serve(Weight::ONE); 2]);
    assert!(
        case.desired()
            .services
            .values()
            .all(|service| service.complete)
    );
}

#[test]
fn whoever_can_not_have_what_the_config_file_says_falls_back_on_nothing() {
    let case = Case::new()
        .configured("web", OUTSIDE)
        .service("web", None, passing())
        .last(saved("web", VIP, &[1]));
    assert!(case.owners().is_empty());
    let rejected = case.desired().rejected;
    assert_eq!(rejected.len(), 1, "{rejected:?}");
    let reason = &rejected[0].1.reason;
    assert!(reason.starts_with("tcp://192.0.2.1:80 is"), "{reason}");
}

#[test]
fn tags_of_a_service_that_the_config_file_names_ask_for_nothing() {
    let case = Case::new()
        .configured("web", VIP)
        .service("web", Ask::from(vip(OTHER)), passing());
    assert_eq!(case.owners(), ["tcp://198.18.0.29:80 web"]);
    assert!(case.desired().rejected.is_empty());
}

#[test]
fn whoever_falls_back_on_the_vip_that_it_had_is_declared_by_the_disk() {
    let case = Case::new()
        .service("aaa", Ask::from(vip(VIP)), Vec::new())
        .service("web", Ask::from(vip(VIP)), Vec::new())
        .last(saved("web", VIP, &[]))
        .last(saved("aaa", OTHER, &[]));
    let desired = case.desired();
    let declared = |vip: &str| desired.services[&id(vip)].declared;
    assert_eq!(declared(VIP), Declared::Tags);
    assert_eq!(declared(OTHER), Declared::Disk);
}

#[test]
fn whoever_had_its_vip_outside_of_our_ranges_falls_back_on_nothing() {
    let case = Case::new()
        .service("aaa", Ask::from(vip(VIP)), Vec::new())
        .service("web", Ask::from(vip(VIP)), Vec::new())
        .last(saved("web", VIP, &[]))
        .last(saved("aaa", OUTSIDE, &[]));
    assert_eq!(case.owners(), ["tcp://198.18.0.29:80 web"]);
}

#[test]
fn having_had_another_vip_or_another_having_had_this_one_gives_no_precedence() {
    let case = Case::new()
        .service("aaa", Ask::from(vip(VIP)), Vec::new())
        .service("web", Ask::from(vip(VIP)), Vec::new())
        .last(saved("web", OTHER, &[]))
        .last(saved("old", VIP, &[]));
    let owners = ["tcp://198.18.0.29:80 aaa", "tcp://198.18.0.30:80 web"];
    assert_eq!(case.owners(), owners);
}

#[test]
fn of_three_that_ask_the_one_that_has_it_keeps_it_wherever_it_stands() {
    for keeper in ["aaa", "mmm", "zzz"] {
        let mut case = Case::new().last(saved(keeper, VIP, &[]));
        for name in ["aaa", "mmm", "zzz"] {
            case = case.service(name, Ask::from(vip(VIP)), Vec::new());
        }
        assert_eq!(case.owners(), [format!("tcp://198.18.0.29:80 {keeper}")]);
        let rejected = case.desired().rejected;
        assert_eq!(rejected.len(), 2);
        assert!(rejected.iter().all(|(name, _)| **name != *keeper));
    }
}

#[test]
fn of_two_that_the_config_file_gives_one_vip_the_first_has_it_whoever_had_it() {
    let case = Case::new()
        .configured("aaa", VIP)
        .configured("web", VIP)
        .service("aaa", None, Vec::new())
        .service("web", None, Vec::new())
        .last(saved("web", VIP, &[]))
        .last(saved("web", OTHER, &[]));
    assert_eq!(case.owners(), ["tcp://198.18.0.29:80 aaa"]);
}

#[test]
fn while_the_list_is_unread_only_what_nothing_else_speaks_for_is_as_the_disk_has_it() {
    let mut case = Case::new()
        .configured("web", VIP)
        .service("web", None, passing())
        .service("read", Ask::from(vip("198.18.0.31:80")), passing())
        .last(saved("web", VIP, &[1]))
        .last(saved("read", "198.18.0.31:80", &[1]))
        .last(saved("unread", OTHER, &[1]))
        .last(saved("theirs", OUTSIDE, &[1]));
    case.catalog.unlisted = true;
    let owners = [
        "tcp://198.18.0.29:80 web",
        "tcp://198.18.0.30:80 unread",
        "tcp://198.18.0.31:80 read",
    ];
    assert_eq!(case.owners(), owners);
    let rejected = case.desired().rejected;
    assert!(rejected.is_empty(), "{rejected:?}");
    case.catalog.unlisted = false;
    assert_eq!(case.owners().len(), 2);
    case.catalog.unread = ["unread".into()].into();
    assert_eq!(case.owners(), owners);
}
