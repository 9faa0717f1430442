//! What neighbours on the link think of a VIP: whether somebody has it already, and that we have it now.
//!
//! Before a VIP is added everybody is asked for it (RFC 5227 for IPv4, RFC 4862 for IPv6); one that answers keeps it, for
//! a host whose address is taken is cut off. Afterwards everybody is told, or clients that knew the VIP elsewhere would
//! go on asking there until their tables forget it. Frames are made in `arp` and `ndp`; here is who sends and
//! listens, for a short time each, on the blocking pool.

mod arp;
mod link;
mod ndp;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use link::Mac;

use link::Link;

/// How often the director asks everybody: one frame may be lost.
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

/// Finds the addresses that another host answers for: none where the link has no neighbours.
pub async fn holders(
    interface: &str,
    vips: Vec<IpAddr>,
) -> Result<BTreeMap<IpAddr, Mac>, NeighbourError> {
    on_link(interface, move |link| ask(link, &vips)).await
}

/// Tells everybody that these are here now.
pub async fn announce(interface: &str, vips: Vec<IpAddr>) -> Result<(), NeighbourError> {
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
    use super::*;

    #[test]
    fn a_loopback_has_no_neighbours() {
        assert!(Link::open("lo").unwrap().is_none());
    }
}
