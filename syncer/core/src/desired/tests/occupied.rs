//! A VIP is nobody else's address.

use super::*;

fn web() -> Vec<Instance> {
    vec![instance(1, Health::Passing, None)]
}

fn vip_address() -> IpAddr {
    id(VIP).vip().unwrap()
}

fn tagged() -> Case {
    Case::new().service("web", Ask::from(vip(VIP)), web())
}

fn reason(case: &Case) -> String {
    let rejected = case.desired().rejected;
    assert_eq!(rejected.len(), 1, "{rejected:?}");
    rejected[0].1.reason.clone()
}

fn host(case: &mut Case, ip: IpAddr) {
    let db = CatalogService {
        instances: vec![instance(9, Health::Passing, None)],
        hosts: vec![(ip, "node7".into())],
        ..CatalogService::default()
    };
    case.catalog.services.insert("db".into(), Arc::new(db));
}

#[test]
fn what_the_machine_a_neighbour_or_a_source_has_is_refused_by_tags_and_by_the_config_file() {
    let network = "198.18.0.0/24".parse().unwrap();
    for (holder, phrase) in [
        (
            Holder::Machine {
                interface: "eth1".into(),
            },
            "own address on eth1",
        ),
        (
            Holder::Network { network },
            "network address of 198.18.0.0/24",
        ),
        (Holder::Broadcast { network }, "broadcast address of"),
        (
            Holder::Neighbour {
                link: "02:00:00:00:00:01".into(),
            },
            "02:00:00:00:00:01 answers",
        ),
        (Holder::Source { name: "Consul" }, "where Consul is asked"),
    ] {
        let configured = Case::new()
            .configured("web", VIP)
            .service("web", None, web());
        for mut case in [tagged(), configured] {
            case.occupied = Arc::new([(vip_address(), holder.clone())].into());
            assert!(case.owners().is_empty());
            let reason = reason(&case);
            assert!(reason.contains(phrase), "{reason}");
            // Not even where it was there before: nobody else could be reached.
            let case = case.last(saved("web", VIP, &[1]));
            assert!(case.owners().is_empty());
        }
    }
}

#[test]
fn a_node_of_either_catalogue_keeps_its_address_and_nobody_else_is_hurt() {
    let mut consul = tagged();
    host(&mut consul, vip_address());
    let mut nomad = tagged();
    let mut alloc = allocation(1, ClientStatus::Running);
    alloc.ports[0].address = SocketAddr::new(vip_address(), 20_000);
    nomad.fleet = Some(Arc::new(Fleet::new([alloc])));
    for (case, phrase) in [
        (consul, "Consul's node node7"),
        (nomad, "Nomad's node node1"),
    ] {
        // An instance on that node serves another service as ever.
        let mut neighbour = instance(5, Health::Passing, None);
        neighbour.address.set_ip(vip_address());
        let case = case
            .configured("api", OTHER)
            .service("api", None, vec![neighbour]);
        assert_eq!(case.owners(), ["tcp://198.18.0.30:80 api"]);
        assert_eq!(case.wants(), [Want::Serve(Weight::ONE)]);
        let reason = reason(&case);
        assert!(reason.contains(phrase), "{reason}");
    }
}

#[test]
fn a_vip_that_was_there_before_a_node_was_known_at_its_address_is_kept_and_named() {
    let mut case = tagged().last(saved("web", VIP, &[1]));
    host(&mut case, vip_address());
    assert_eq!(case.owners(), ["tcp://198.18.0.29:80 web"]);
    let reason = reason(&case);
    assert!(
        reason.contains("node7") && reason.contains("has to go"),
        "{reason}"
    );
}

#[test]
fn nodes_elsewhere_refuse_nothing() {
    let mut case = tagged();
    host(&mut case, "198.18.0.11".parse().unwrap());
    assert_eq!(case.owners(), ["tcp://198.18.0.29:80 web"]);
    assert!(case.desired().rejected.is_empty());
}

#[test]
fn what_is_refused_lets_what_holds_on_the_disk_go_too() {
    let mut case = tagged()
        .last(saved("web", VIP, &[1]))
        .last(saved("api", OTHER, &[1]));
    case.occupied = Arc::new([(vip_address(), Holder::Source { name: "Nomad" })].into());
    let snapshots = Snapshots {
        catalog: None,
        fleet: FleetView::Absent,
        warmed: &BTreeSet::new(),
        refusals: &Arc::default(),
        last: &case.last,
        hints: &HintPhases::new(),
        occupied: &case.occupied,
    };
    let services = desired(&snapshots, &case.policy).services;
    assert_eq!(services.keys().collect::<Vec<_>>(), [&id(OTHER)]);
}
