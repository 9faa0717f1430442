//! What the connection tracker knows of connections that nobody has answered.

mod datagrams;

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use ipvs_syncer::dataplane::flow;

use super::namespace::{inside, run};

/// Long enough for the first packet to leave.
const ATTEMPT: Duration = Duration::from_millis(100);

#[test]
#[ignore = "needs root"]
fn unanswered_connections_to_these_vips_are_forgotten_and_no_others() {
    inside(|| async {
        let ip = |words: &str| run("ip", &words.split(' ').collect::<Vec<_>>());
        ip("link add eth0 type veth peer name peer");
        ip("link set eth0 up");
        ip("link set peer up");
        ip("address add 10.9.9.1/24 dev eth0");
        ip("-6 address add 2001:db8::1/64 dev eth0 nodad");
        ip("route add 198.18.0.0/24 dev eth0");
        for family in ["ip", "ip6"] {
            // Without a rule that asks for it nothing is tracked.
            let hook = "{ type filter hook output priority 0; }";
            run("nft", &["add", "table", family, "t"]);
            run("nft", &["add", "chain", family, "t", "o", hook]);
            let rule = [
                "add", "rule", family, "t", "o", "ct", "state", "new", "counter",
            ];
            run("nft", &rule);
        }
        let all = [
            "198.18.0.27",
            "198.18.0.28",
            "198.18.0.29",
            "198.18.0.32",
            "2001:db8::2",
        ];
        for vip in all.into_iter().chain(["2001:db8::3", "2001:db8::4"]) {
            let nobody = "02:00:00:00:00:01";
            run(
                "ip",
                &["neighbour", "add", vip, "lladdr", nobody, "dev", "eth0"],
            );
            let vip = SocketAddr::new(vip.parse().unwrap(), 80);
            assert!(TcpStream::connect_timeout(&vip, ATTEMPT).is_err());
        }
        let vips = [
            "198.18.0.28",
            "198.18.0.29",
            "198.18.0.32",
            "2001:db8::2",
            "2001:db8::3",
        ];
        let vips = vips.map(|vip| vip.parse::<IpAddr>().unwrap());
        let outcomes = flow::forget_unanswered(&vips).await;
        assert!(outcomes.len() == vips.len() && outcomes.iter().all(Result::is_ok));
        let tracked = ["ipv4", "ipv6"].map(|family| run("conntrack", &["-L", "-f", family]));
        let tracked = tracked.concat();
        let is_there = |vip: &str| tracked.contains(&format!("dst={vip} "));
        assert!(
            is_there("198.18.0.27") && is_there("2001:db8::4"),
            "{tracked}"
        );
        assert!(
            !vips.iter().any(|vip| is_there(&vip.to_string())),
            "{tracked}"
        );
    });
}
