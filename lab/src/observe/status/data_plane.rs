//! What the data plane itself says: whether a connection through each VIP comes about, asked from the client.
//!
//! A table that is as it should be sends nothing where a sysctl, an address or a packet rule is missing; only a connection
//! shows that. One a VIP, which its scheduler gives to one real server; no request is made on it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use ipnet::IpNet;
use serde::Serialize;

use super::kernel::Kernel;
use crate::host::netns;
use crate::world::context::Lab;
use crate::world::topology::Node;

/// How long a connection may take; a lost first packet alone costs a second.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(2500);

/// How many are tried at once, and how many at all: a catalogue may have thousands of services.
const AT_ONCE: usize = 16;
const AT_MOST: usize = 64;

/// What came of trying a VIP.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "reach", rename_all = "snake_case")]
pub enum Reach {
    Connects { millis: f64 },
    Fails { why: String },
}

/// By the kernel's name of each VIP.
pub type DataPlane = BTreeMap<String, Reach>;

/// Tries every VIP that has somebody to send to.
pub(super) fn ask(lab: &Lab, kernel: &Kernel) -> Result<DataPlane> {
    let vips = askable(kernel, &lab.topology.networks());
    let next = Mutex::new(vips.into_iter().take(AT_MOST));
    let found = Mutex::new(BTreeMap::new());
    let client = lab.topology.netns(Node::Client.name());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                scope.spawn(|| {
                    netns::enter(&client)?;
                    loop {
                        let vip = next.lock().unwrap_or_else(PoisonError::into_inner).next();
                        let Some((name, address)) = vip else {
                            return Ok(());
                        };
                        let reach = connect(address);
                        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                        found.insert(name, reach);
                    }
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| {
            let ended = worker.join();
            ended.unwrap_or_else(|_| Err(anyhow!("a thread that tries VIPs panicked")))
        })
    })?;
    Ok(found.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Virtual services that take connections and have a real server that does: TCP, in the lab's own networks.
fn askable(kernel: &Kernel, ours: &[IpNet]) -> BTreeSet<(String, SocketAddr)> {
    let serving = kernel.values().flatten().filter(|real| real.weight > 0);
    serving
        .filter_map(|real| {
            let address: SocketAddr = real.vip.strip_prefix("tcp://")?.parse().ok()?;
            ours.iter()
                .any(|net| net.contains(&address.ip()))
                .then(|| (real.vip.clone(), address))
        })
        .collect()
}

fn connect(address: SocketAddr) -> Reach {
    let begun = Instant::now();
    match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
        Ok(_) => Reach::Connects {
            millis: begun.elapsed().as_secs_f64() * 1000.0,
        },
        Err(error) => Reach::Fails {
            why: error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::status::RealServer;

    #[test]
    fn only_a_vip_of_ours_with_somebody_to_send_to_is_tried() {
        let real = |vip: &str, weight| RealServer::idle("198.18.0.11:25000", vip, weight);
        let reals = vec![
            real("tcp://198.18.0.29:80", 1),
            real("tcp://198.18.0.30:80", 0),
            real("udp://198.18.0.29:53", 1),
            real("tcp://198.19.255.77:80", 1),
            real("fwmark4:7", 1),
            real("tcp://[fd00::29]:80", 1),
            real("tcp://[fd01::29]:80", 1),
        ];
        let kernel = [("198.18.0.11:25000".parse().unwrap(), reals)].into();
        let found = askable(
            &kernel,
            &["198.18.0.0/24", "fd00::/64"].map(|net| net.parse().unwrap()),
        );
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["tcp://198.18.0.29:80", "tcp://[fd00::29]:80"]);
    }
}
