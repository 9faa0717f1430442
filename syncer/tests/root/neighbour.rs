//! Two network namespaces and a cable between them.

use std::net::IpAddr;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use ipvs_syncer::dataplane::neighbour::{announce, holders};

use super::namespace::{inside, run};

/// A namespace that lives as long as a process in it.
struct Neighbour(Child);

impl Neighbour {
    fn start() -> Self {
        let mut command = Command::new("unshare");
        let child = command.args(["-n", "sleep", "60"]).spawn().unwrap();
        let neighbour = Self(child);
        let of = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
        let ours = of("thread-self");
        let end = Instant::now() + Duration::from_secs(10);
        while of(&neighbour.pid()) == ours {
            assert!(Instant::now() < end, "no namespace");
            std::thread::sleep(Duration::from_millis(5));
        }
        neighbour
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }

    fn ip(&self, arguments: &[&str]) -> String {
        let pid = self.pid();
        let enter = ["-t", &pid, "-n", "ip"];
        run("nsenter", &[&enter, arguments].concat())
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The link address of `here`, and of `there` at the other end.
fn cable(neighbour: &Neighbour) -> [String; 2] {
    let veth = [
        "link", "add", "here", "type", "veth", "peer", "name", "there",
    ];
    run("ip", &veth);
    run("ip", &["link", "set", "there", "netns", &neighbour.pid()]);
    run("ip", &["link", "set", "here", "up"]);
    neighbour.ip(&["address", "add", "192.0.2.7/24", "dev", "there"]);
    neighbour.ip(&["link", "set", "there", "up"]);
    neighbour.ip(&["address", "add", "2001:db8::7/64", "dev", "there", "nodad"]);
    let mac = |brief: String| brief.split_whitespace().nth(2).unwrap().to_owned();
    [
        mac(run("ip", &["-brief", "link", "show", "here"])),
        mac(neighbour.ip(&["-brief", "link", "show", "there"])),
    ]
}

#[test]
#[ignore = "needs root"]
fn who_answers_is_found_and_who_knew_a_vip_elsewhere_learns_where_it_is() {
    // Packet sockets are opened on the blocking pool, whose threads are born in the namespace of the test's.
    inside(|| async {
        let neighbour = Neighbour::start();
        let [ours, theirs] = cable(&neighbour);
        let known = ["neigh", "add", "192.0.2.8", "lladdr", "02:00:00:00:00:99"];
        neighbour.ip(&[&known[..], &["dev", "there", "nud", "stale"]].concat());
        let asked = ["192.0.2.7", "192.0.2.8", "2001:db8::7", "2001:db8::8"];
        let asked = asked.map(|vip| vip.parse::<IpAddr>().unwrap());
        let found = holders("here", asked.to_vec()).await.unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), [&asked[0], &asked[2]]);
        assert_eq!(found[&asked[0]].to_string(), theirs);
        announce("here", vec![asked[1]]).await.unwrap();
        let moved = || {
            neighbour
                .ip(&["neigh", "show", "192.0.2.8"])
                .contains(&ours)
        };
        let end = Instant::now() + Duration::from_secs(10);
        while !moved() {
            assert!(Instant::now() < end, "{}", neighbour.ip(&["neigh"]));
            std::thread::sleep(Duration::from_millis(10));
        }
    });
}
