//! What is known of one address from several sides, and which side counts.

use super::*;

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([198, 18, 0, 11], port))
}

/// `web` with one instance that nobody checks.
fn unchecked(vip: &str) -> Case {
    let instance = Instance {
        checked: false,
        ..instance(1, Health::Passing, None)
    };
    Case::new()
        .configured("web", vip)
        .service("web", None, vec![instance])
}

fn with(case: &Case, warmed: &BTreeSet<(ServiceId, SocketAddr)>, hints: &HintPhases) -> Desired {
    let fleet = case.fleet.as_ref();
    let snapshots = Snapshots {
        catalog: Some(&Arc::new(case.catalog.clone())),
        fleet: fleet.map_or(FleetView::Absent, FleetView::Known),
        warmed,
        refusals: &Arc::default(),
        last: &SavedTable::default(),
        hints,
        occupied: &case.occupied,
    };
    desired(&snapshots, &case.policy)
}

#[test]
fn whoever_took_a_connection_serves_and_only_tcp_can_be_asked_to() {
    assert_eq!(unchecked(VIP).wants(), [Want::Warm(Weight::ONE)]);
    let warmed = [(id(VIP), at(1))].into();
    let after = with(&unchecked(VIP), &warmed, &HintPhases::new());
    let want = |desired: &Desired, vip: &str| desired.services[&id(vip)].endpoints[0].want;
    assert_eq!(want(&after, VIP), Want::Serve(Weight::ONE));
    let elsewhere = [(id(OTHER), at(1))].into();
    let after = with(&unchecked(VIP), &elsewhere, &HintPhases::new());
    assert_eq!(want(&after, VIP), Want::Warm(Weight::ONE));
    let udp = "udp://198.18.0.29:53";
    assert_eq!(unchecked(udp).wants(), [Want::Serve(Weight::ONE)]);
}

#[test]
fn a_checked_instance_of_a_known_allocation_needs_no_trial() {
    let mut case = Case::new().configured("web", VIP).service(
        "web",
        None,
        vec![instance(1, Health::Passing, Some(1))],
    );
    case.fleet = Some(Arc::new(Fleet::new([allocation(1, ClientStatus::Running)])));
    assert_eq!(case.wants(), [Want::Serve(Weight::ONE)]);
}

#[test]
fn what_a_driver_told_counts_before_nomad_in_the_catalogue_and_out_of_it() {
    let mut case = Case::new().configured("web", VIP).service(
        "web",
        None,
        vec![instance(1, Health::Passing, Some(1))],
    );
    case.fleet = Some(Arc::new(Fleet::new([allocation(1, ClientStatus::Running)])));
    let hints = HintPhases::from([(at(1), Phase::Stopping), (at(2), Phase::Complete)]);
    let desired = with(&case, &BTreeSet::new(), &hints);
    let endpoint = desired.services[&id(VIP)].endpoints[0];
    let expected = (Want::Drain, Some(Phase::Stopping));
    assert_eq!((endpoint.want, endpoint.phase), expected);
    assert_eq!(desired.fate(at(1)), expected);
    assert_eq!(desired.fate(at(2)), (Want::Remove, Some(Phase::Complete)));
}

#[test]
fn the_fate_of_what_the_catalogue_has_not_is_nomads_to_say() {
    let mut case = Case::new();
    case.fleet = Some(Arc::new(Fleet::new([allocation(1, ClientStatus::Unknown)])));
    let desired = case.desired();
    assert_eq!(desired.fate(at(1)), (Want::Keep, Some(Phase::Unknown)));
    assert_eq!(desired.fate(at(2)), (Want::Drain, None));
}

#[test]
fn an_outline_tells_every_fate_that_the_whole_tells_and_has_no_virtual_service() {
    let mut case = Case::new().configured("web", VIP);
    case.fleet = Some(Arc::new(Fleet::new([allocation(1, ClientStatus::Failed)])));
    let hints = HintPhases::from([(at(2), Phase::Stopping)]);
    let mut desired = with(&case, &BTreeSet::new(), &hints);
    for awaited in [false, true] {
        desired.awaited = awaited;
        let outline = desired.outline();
        assert!(outline.complete && outline.services.is_empty());
        let fates = |desired: &Desired| [1, 2, 3].map(|port| desired.fate(at(port)));
        assert_eq!(fates(&outline), fates(&desired), "{awaited}");
        let known = [Want::Remove, Want::Drain];
        assert_eq!(fates(&outline).map(|(want, _)| want)[..2], known);
    }
}

#[test]
fn of_two_equal_registrations_the_first_counts_for_it_is_the_healthier() {
    let pair = vec![
        instance(1, Health::Critical, Some(1)),
        instance(1, Health::Maintenance, Some(2)),
    ];
    let case = Case::new()
        .configured("web", VIP)
        .service("web", None, pair);
    let endpoints = &case.desired().services[&id(VIP)].endpoints;
    assert_eq!(endpoints.len(), 1);
    assert_eq!(endpoints[0].health, Some(Health::Critical));
}

#[test]
fn of_two_that_serve_the_one_that_nomad_knows_counts_and_then_the_heavier() {
    let heavy = |alloc, weight| Instance {
        weight_passing: weight,
        ..instance(1, Health::Passing, alloc)
    };
    let weights = |pair: Vec<Instance>| {
        let mut case = Case::new()
            .configured("web", VIP)
            .service("web", None, pair);
        case.fleet = Some(Arc::new(Fleet::new([allocation(1, ClientStatus::Running)])));
        case.wants()
    };
    let serve = |weight| [Want::Serve(Weight::saturating(weight))];
    assert_eq!(weights(vec![heavy(None, 9), heavy(Some(1), 2)]), serve(2));
    assert_eq!(weights(vec![heavy(None, 2), heavy(None, 9)]), serve(9));
}

#[test]
fn with_direct_routing_whoever_is_checked_is_tried_too_and_whoever_is_refused_gets_nothing() {
    let mut case = Case::new().configured("web", VIP);
    let block = case.policy.services.get_mut("web").unwrap();
    block.vips[0].forwarding = Forwarding::DirectRouting;
    let case = case.service("web", None, vec![instance(1, Health::Passing, None)]);
    let key = (id(VIP), instance(1, Health::Passing, None).address);
    let want = |warmed: &BTreeSet<(ServiceId, SocketAddr)>, refused: &[(ServiceId, SocketAddr)]| {
        refusing(&case, warmed, refused)
    };
    assert_eq!(want(&BTreeSet::new(), &[]), Want::Warm(Weight::ONE));
    assert_eq!(want(&[key].into(), &[]), Want::Serve(Weight::ONE));
    assert_eq!(want(&[key].into(), &[key]), Want::Quiesce);
    let by_masquerade = Case::new().configured("web", VIP);
    let case = Case {
        policy: by_masquerade.policy,
        ..case
    };
    let refused = refusing(&case, &[key].into(), &[key]);
    assert_eq!(refused, Want::Serve(Weight::ONE), "no node has to take it");
}

/// What is wanted of the only instance, where so many have taken a connection and nodes refuse so many.
fn refusing(
    case: &Case,
    warmed: &BTreeSet<(ServiceId, SocketAddr)>,
    refused: &[(ServiceId, SocketAddr)],
) -> Want {
    let snapshots = Snapshots {
        catalog: Some(&Arc::new(case.catalog.clone())),
        fleet: FleetView::Absent,
        warmed,
        refusals: &Arc::new(refused.iter().copied().collect()),
        last: &SavedTable::default(),
        hints: &HintPhases::new(),
        occupied: &case.occupied,
    };
    desired(&snapshots, &case.policy).services[&id(VIP)].endpoints[0].want
}
