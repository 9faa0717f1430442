use std::net::IpAddr;

use super::*;

#[test]
fn where_vips_may_be_nobody_lives_and_all_vips_are_there() {
    let topology = Topology::of("default").unwrap();
    let (six, ranges) = (topology.six(), topology.vip_ranges());
    let inside = |address: IpAddr| ranges.iter().any(|range| range.contains(&address));
    for node in Node::ALL {
        assert!(!inside(topology.node_address(node).into()), "{node:?}");
        assert!(!inside(six.node(node).into()), "{node:?}");
    }
    assert!(!inside(topology.host_address().into()) && !inside(six.machine().into()));
    let four = [
        *topology.vip().ip(),
        *topology.second_vip().ip(),
        *topology.direct_vip().ip(),
        *topology.echo_vip().ip(),
        topology.third_vip(),
    ];
    let six = [*six.vip().ip(), *six.echo_vip().ip()].map(IpAddr::from);
    let vips = four.into_iter().map(IpAddr::from).chain(six);
    assert!(vips.into_iter().all(inside));
}

#[test]
fn the_default_profile_has_the_addresses_of_the_articles() {
    let topology = Topology::of("default").unwrap();
    assert_eq!(topology.vip().to_string(), "198.18.0.29:80");
    assert_eq!(
        topology.node_address(Node::Node1).to_string(),
        "198.18.0.11"
    );
    assert_eq!(topology.consul_address(), "http://198.18.0.11:8500");
}

#[test]
fn every_profile_stays_inside_the_benchmarking_range_and_off_the_fixed_subnets() {
    for name in ["a", "zz", "my-lab-2", "zzzzzzzzzzzz"] {
        let topology = Topology::of(name).unwrap();
        assert!(
            topology.subnet >= 10,
            "{name} has subnet {}",
            topology.subnet
        );
        assert!(topology.host_link().len() <= 15);
    }
}

#[test]
fn a_profile_name_that_could_leave_its_folder_is_refused() {
    for name in ["", "../x", "UPPER", "much-too-long-a-name"] {
        assert!(Topology::of(name).is_err(), "{name} was accepted");
    }
}
