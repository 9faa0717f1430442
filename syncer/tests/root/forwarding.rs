//! What a machine keeps that begins to forward.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipvs_syncer::dataplane::sysctl;
use nix::net::if_::if_nametoindex;
use socket2::{Domain, Protocol, Socket, Type};

use super::namespace::{inside, run};

/// `SOCK_RAW`: the kernel adds the checksum of ICMPv6 itself.
const RAW: i32 = 3;

/// Says on that interface that there is a router behind it, for half an hour.
fn advertise(interface: &str) {
    let all_nodes: Ipv6Addr = "ff02::1".parse().unwrap();
    let socket = Socket::new(Domain::IPV6, Type::from(RAW), Some(Protocol::ICMPV6)).unwrap();
    socket.set_multicast_hops_v6(255).unwrap();
    let index = if_nametoindex(interface).unwrap();
    socket.set_multicast_if_v6(index).unwrap();
    let [high, low] = 1800_u16.to_be_bytes();
    let message = [134, 0, 0, 0, 64, 0, high, low, 0, 0, 0, 0, 0, 0, 0, 0];
    let target = SocketAddr::from((all_nodes, 0));
    socket.send_to(&message, &target.into()).unwrap();
}

fn way_out() -> String {
    run("ip", &["-6", "route", "show", "default"])
}

#[test]
#[ignore = "needs root"]
fn a_router_that_was_advertised_stays_the_way_out_of_a_machine_that_begins_to_forward_ipv6() {
    inside(|| async {
        let set = |name: &str, value| {
            let name = format!("/proc/sys/net/ipv6/conf/{name}");
            std::fs::write(name, value).unwrap();
        };
        // Their own addresses are there at once.
        set("default/accept_dad", "0");
        for interface in ["eth0", "quiet"] {
            let peer = format!("{interface}-peer");
            let veth = ["link", "add", interface, "type", "veth", "peer", "name"];
            run("ip", &[&veth[..], &[&peer]].concat());
            run("ip", &["link", "set", interface, "up"]);
            run("ip", &["link", "set", &peer, "up"]);
        }
        set("quiet/accept_ra", "0");
        advertise("eth0-peer");
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(way_out().contains("proto ra"), "{}", way_out());
        sysctl::ensure(&sysctl::of_ipv6()).unwrap();
        let get = |name: &str| {
            let text = std::fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{name}"));
            text.unwrap().trim().to_owned()
        };
        assert_eq!(get("all/forwarding"), "1");
        assert!(way_out().contains("proto ra"), "{}", way_out());
        assert_eq!(
            (get("eth0/accept_ra"), get("quiet/accept_ra")),
            ("2".to_owned(), "0".to_owned())
        );
    });
}
