//! What neighbours on the link think of a VIP: whether somebody has it already, and that we have it now.
//!
//! Before a VIP is added everybody is asked for it (RFC 5227 for IPv4, RFC 4862 for IPv6); one that answers keeps it, for
//! a host whose address is taken is cut off. Afterwards everybody is told, or clients that knew the VIP elsewhere would
//! go on asking there until their tables forget it. Frames are made in [`arp`] and [`ndp`]; here is who sends and
//! listens, for a short time each, on the blocking pool.

mod arp;
mod link;
mod ndp;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) use link::Mac;

use link::Link;

/// How often everybody is asked: one frame may be lost.
const PROBES: u32 = 2;

/// How long an answer may take. Hosts of one link answer within a millisecond; a busy one may need some.
const ANSWER_LIMIT: Duration = Duration::from_millis(150);

/// Neighbours can't be talked to.
#[derive(Debug, thiserror::Error)]
pub enum NeighbourError {
    #[error("{doing} on {interface} (CAP_NET_RAW is needed)")]
    Socket {
        doing: &'static str,
        interface: String,
        source: io::Error,
    },
    #[error("what talks to neighbours has ended")]
    Ended,
}

/// Those of these addresses that another host answers for. None where the link has no neighbours.
pub(super) async fn holders(
    interface: &str,
    vips: Vec<IpAddr>,
) -> Result<BTreeMap<IpAddr, Mac>, NeighbourError> {
    on_link(interface, move |link| ask(link, &vips)).await
}

/// Tells everybody that these are here now.
pub(super) async fn announce(interface: &str, vips: Vec<IpAddr>) -> Result<(), NeighbourError> {
    on_link(interface, move |link| {
        for vip in vips {
            match vip {
                IpAddr::V4(vip) => {
                    for frame in arp::announcements(link.mac, vip) {
                        link.send(&frame)?;
                    }
                }
                IpAddr::V6(vip) => link.send(&ndp::announcement(link.mac, vip))?,
            }
        }
        Ok(())
    })
    .await
}

async fn on_link<T: Default + Send + 'static>(
    interface: &str,
    talk: impl FnOnce(&Link) -> io::Result<T> + Send + 'static,
) -> Result<T, NeighbourError> {
    let name: Arc<str> = interface.into();
    let of_link = move || {
        let failed = |doing| {
            let interface = name.to_string();
            move |source| NeighbourError::Socket {
                doing,
                interface,
                source,
            }
        };
        match Link::open(&name).map_err(failed("open a packet socket"))? {
            Some(link) => talk(&link).map_err(failed("talk to neighbours")),
            None => Ok(T::default()),
        }
    };
    let done = tokio::task::spawn_blocking(of_link).await;
    done.map_err(|_| NeighbourError::Ended)?
}

fn ask(link: &Link, vips: &[IpAddr]) -> io::Result<BTreeMap<IpAddr, Mac>> {
    let mut holders = BTreeMap::new();
    let (four, six): (Vec<IpAddr>, Vec<IpAddr>) = vips.iter().partition(|vip| vip.is_ipv4());
    if !four.is_empty() {
        let listener = link.listen_arp()?;
        hear(&listener, link, &four, &mut holders, |frame| {
            let (vip, mac) = arp::holder(frame)?;
            (mac != link.mac).then_some((vip.into(), mac))
        })?;
    }
    if !six.is_empty() {
        let listener = link.listen_icmp6()?;
        hear(&listener, link, &six, &mut holders, |message| {
            let (vip, mac) = ndp::holder(message)?;
            (mac != Some(link.mac)).then(|| (vip.into(), mac.unwrap_or_default()))
        })?;
    }
    Ok(holders)
}

/// Asks for all of them and takes what is answered in time.
fn hear(
    listener: &socket2::Socket,
    link: &Link,
    vips: &[IpAddr],
    holders: &mut BTreeMap<IpAddr, Mac>,
    read: impl Fn(&[u8]) -> Option<(IpAddr, Mac)>,
) -> io::Result<()> {
    use std::io::Read;
    for _ in 0..PROBES {
        for vip in vips {
            match vip {
                IpAddr::V4(vip) => link.send(&arp::probe(link.mac, *vip))?,
                IpAddr::V6(vip) => link.send(&ndp::probe(link.mac, *vip))?,
            }
        }
        let end = Instant::now() + ANSWER_LIMIT;
        let mut frame = [0; 2048];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            listener.set_read_timeout(Some(left))?;
            let mut listener = listener;
            match listener.read(&mut frame) {
                Ok(length) => {
                    let answer = frame.get(..length).and_then(&read);
                    holders.extend(answer.filter(|(vip, _)| vips.contains(vip)));
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => break,
                    io::ErrorKind::Interrupted => {}
                    _ => return Err(error),
                },
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use nix::sched::{CloneFlags, unshare};

    use super::*;

    fn run(program: &str, arguments: &[&str]) -> String {
        let output = Command::new(program).args(arguments).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {told}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A namespace that lives as long as a process in it.
    struct Neighbour(Child);

    impl Neighbour {
        fn start() -> Self {
            let mut command = Command::new("unshare");
            let child = command.args(["-n", "sleep", "60"]).spawn().unwrap();
            let neighbour = Self(child);
            let of = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
            let ours = of("thread-self");
            for _ in 0..1_000 {
                if of(&neighbour.pid()) != ours {
                    return neighbour;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            panic!("no namespace after 5 s");
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

    fn talk_to_a_neighbour() {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let neighbour = Neighbour::start();
        let veth = [
            "link", "add", "here", "type", "veth", "peer", "name", "there",
        ];
        run("ip", &veth);
        run("ip", &["link", "set", "there", "netns", &neighbour.pid()]);
        run("ip", &["link", "set", "here", "up"]);
        neighbour.ip(&["address", "add", "192.0.2.7/24", "dev", "there"]);
        neighbour.ip(&["link", "set", "there", "up"]);
        neighbour.ip(&["address", "add", "2001:db8::7/64", "dev", "there", "nodad"]);
        let known = ["neigh", "add", "192.0.2.8", "lladdr", "02:00:00:00:00:99"];
        neighbour.ip(&[&known[..], &["dev", "there", "nud", "stale"]].concat());
        let link = Link::open("here").unwrap().unwrap();
        let asked = ["192.0.2.7", "192.0.2.8", "2001:db8::7", "2001:db8::8"];
        let asked = asked.map(|vip| vip.parse::<IpAddr>().unwrap());
        let found = ask(&link, &asked).unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), [&asked[0], &asked[2]]);
        let of_link = neighbour.ip(&["-brief", "link", "show", "there"]);
        assert!(of_link.contains(&found[&asked[0]].to_string()), "{of_link}");
        for frame in arp::announcements(link.mac, "192.0.2.8".parse().unwrap()) {
            link.send(&frame).unwrap();
        }
        let ours = link.mac.to_string();
        let moved = || {
            neighbour
                .ip(&["neigh", "show", "192.0.2.8"])
                .contains(&ours)
        };
        let in_time = (0..200).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            moved()
        });
        assert!(in_time, "{}", neighbour.ip(&["neigh"]));
    }

    #[test]
    #[ignore = "needs root: two network namespaces and a veth between them"]
    fn who_answers_is_found_and_who_knew_a_vip_elsewhere_learns_where_it_is() {
        std::thread::spawn(talk_to_a_neighbour).join().unwrap();
    }

    #[test]
    fn a_loopback_has_no_neighbours() {
        assert!(Link::open("lo").unwrap().is_none());
    }
}
