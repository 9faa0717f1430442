//! Least healthy share, sorry server, weights in steps and weights from tags.

use super::*;
use crate::model::safeguard::{Percent, Safeguards};

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([198, 18, 0, 11], port))
}

/// `web` at that VIP, with these safeguards and an instance for each health, ports from 1 on.
fn case(vip: &str, safeguards: Safeguards, healths: &[Health]) -> Case {
    let policy = VipPolicy {
        safeguards,
        ..VipPolicy::new(id(vip))
    };
    let mut case = Case::new();
    case.policy.services.insert("web".into(), policy.into());
    let instances = (1..).zip(healths);
    let instances = instances.map(|(port, health)| instance(port, *health, None));
    case.service("web", None, instances.collect())
}

fn least(share: f64) -> Safeguards {
    Safeguards {
        least_healthy: Percent::of_share(share).unwrap(),
        ..Safeguards::default()
    }
}

const ONE: Weight = Weight::ONE;

#[test]
fn below_the_least_healthy_share_the_critical_are_doubted() {
    use Health::{Critical, Passing};
    let third = case(VIP, least(0.5), &[Passing, Critical, Critical]);
    let doubted = Want::Doubt(ONE);
    assert_eq!(third.wants(), [Want::Serve(ONE), doubted, doubted]);
    assert_eq!(case(VIP, least(0.1), &[Critical]).wants(), [doubted]);
    assert!(
        third.desired().rejected.is_empty(),
        "nobody asked for anything odd"
    );
}

#[test]
fn at_the_least_healthy_share_and_without_one_checks_are_believed() {
    use Health::{Critical, Passing};
    for share in [0.0, 0.5] {
        let half = case(VIP, least(share), &[Passing, Critical]);
        assert_eq!(half.wants(), [Want::Serve(ONE), Want::Quiesce], "{share}");
        assert!(half.desired().rejected.is_empty());
    }
}

#[test]
fn what_is_in_maintenance_or_has_weight_nought_is_neither_counted_nor_let_in() {
    use Health::{Critical, Maintenance, Passing};
    let mut all = case(
        VIP,
        least(0.5),
        &[Passing, Critical, Maintenance, Maintenance],
    );
    assert_eq!(all.wants()[1..], [Want::Quiesce; 3]);
    let mut resting = instance(2, Critical, None);
    resting.weight_passing = 0;
    all =
        case(VIP, least(1.0), &[]).service("web", None, vec![instance(1, Passing, None), resting]);
    assert_eq!(all.wants(), [Want::Serve(ONE), Want::Quiesce]);
}

#[test]
fn an_allocation_that_is_not_running_stays_out_whatever_share_is_healthy() {
    let mut case = case(VIP, least(1.0), &[]).service(
        "web",
        None,
        vec![instance(1, Health::Critical, Some(1))],
    );
    let mut pending = allocation(1, ClientStatus::Pending);
    case.fleet = Some(Arc::new(Fleet::new([pending.clone()])));
    assert_eq!(case.wants(), [Want::Quiesce]);
    // Nomad has lost sight of its node: that is no check's mistake.
    pending.client = ClientStatus::Unknown;
    case.fleet = Some(Arc::new(Fleet::new([pending.clone()])));
    assert_eq!(case.wants(), [Want::Quiesce]);
    pending.client = ClientStatus::Running;
    case.fleet = Some(Arc::new(Fleet::new([pending])));
    assert_eq!(case.wants(), [Want::Doubt(ONE)]);
}

#[test]
fn of_udp_whoever_serves_goes_on_for_nothing_can_try_the_others() {
    let udp = case("udp://198.18.0.29:53", least(0.5), &[Health::Critical]);
    assert_eq!(udp.wants(), [Want::Keep]);
}

#[test]
fn one_that_has_passed_its_trial_serves_although_it_is_critical() {
    let case = case(VIP, least(0.5), &[Health::Critical]);
    let warmed = [(id(VIP), at(1))].into();
    let snapshots = Snapshots {
        catalog: Some(&Arc::new(case.catalog.clone())),
        fleet: FleetView::Absent,
        warmed: &warmed,
        refusals: &Arc::default(),
        last: &SavedTable::default(),
        hints: &HintPhases::new(),
        occupied: &case.occupied,
    };
    let desired = desired(&snapshots, &case.policy);
    let [endpoint] = desired.services[&id(VIP)].endpoints[..] else {
        panic!("{desired:?}");
    };
    assert_eq!(endpoint.want, Want::Serve(ONE));
    assert_eq!(endpoint.health, Some(Health::Critical));
}

#[test]
fn a_sorry_server_stands_among_the_endpoints_in_order_unless_it_is_one_of_them() {
    let sorry = |port| Safeguards {
        sorry_server: Some(at(port)),
        ..Safeguards::default()
    };
    let passing = [Health::Passing];
    assert_eq!(case(VIP, sorry(9), &[]).wants(), [Want::Substitute]);
    let beside = case(VIP, sorry(9), &passing);
    assert_eq!(beside.wants(), [Want::Serve(ONE), Want::Substitute]);
    assert_eq!(case(VIP, sorry(1), &passing).wants(), [Want::Serve(ONE)]);
}

#[test]
fn weights_that_rise_in_steps_are_ten_times_what_the_catalogue_says() {
    let slow = Safeguards {
        slow_start: Some(Duration::from_secs(30)),
        ..Safeguards::default()
    };
    let ten = Weight::saturating(10);
    assert_eq!(
        case(VIP, slow, &[Health::Passing]).wants(),
        [Want::Serve(ten)]
    );
    let mut unchecked = instance(1, Health::Passing, None);
    unchecked.checked = false;
    let trial = case(VIP, slow, &[]).service("web", None, vec![unchecked]);
    assert_eq!(trial.wants(), [Want::Warm(ten)]);
}

#[test]
fn a_weight_in_a_tag_counts_while_the_instance_passes() {
    let weighed = |health, words: &[&str]| {
        let mut instance = instance(1, health, None);
        instance.weight_warning = 4;
        instance.tags = Arc::new(Tags::of(words.iter().copied()));
        Case::new().service("web", None, vec![instance]).wants()
    };
    let tags = ["ipvs.vip=198.18.0.29:80", "ipvs.weight=7"];
    let seven = Want::Serve(Weight::saturating(7));
    assert_eq!(weighed(Health::Passing, &tags), [seven]);
    let four = Want::Serve(Weight::saturating(4));
    assert_eq!(weighed(Health::Warning, &tags), [four]);
    let two = ["ipvs.vip=198.18.0.29:80", "ipvs.weight=2"];
    let both = Want::Serve(Weight::saturating(2));
    assert_eq!(
        weighed(Health::Warning, &two),
        [both],
        "no more than when all is well"
    );
    let none = ["ipvs.vip=198.18.0.29:80", "ipvs.weight=0"];
    assert_eq!(weighed(Health::Passing, &none), [Want::Quiesce]);
    assert_eq!(weighed(Health::Warning, &none), [Want::Quiesce]);
}

#[test]
fn what_was_applied_last_keeps_its_safeguards() {
    let slow = Safeguards {
        slow_start: Some(Duration::from_secs(30)),
        least_healthy: Percent::of_share(0.5).unwrap(),
        ..Safeguards::default()
    };
    let desired = case(VIP, slow, &[Health::Passing]).desired();
    let mut last = SavedTable::default();
    last.renew(&Scope::Whole, &desired, &ipvs::Table::default());
    let text = serde_json::to_string(&last).unwrap();
    let read: SavedTable = serde_json::from_str(&text).unwrap();
    assert_eq!(read.get(&id(VIP)).unwrap().safeguards, slow);
    // Of an earlier version.
    let plain = text.replace(&serde_json::to_string(&slow).unwrap(), "null");
    let without = plain.replace("\"safeguards\":null,", "");
    assert_ne!(without, plain);
    let read: SavedTable = serde_json::from_str(&without).unwrap();
    assert_eq!(
        read.get(&id(VIP)).unwrap().safeguards,
        Safeguards::default()
    );
}
