//! Host ports that do not depend on the engine: packets to them go to the container's own address by rules of this node's syncer,
//! also while the engine is away or builds its own rules anew.
//!
//! ```text
//! what drivers say of their tasks ─┐
//!                                  ├─▶ living (pure) ─▶ a table of leases, renewed every few seconds
//! which of their processes live ───┘
//! ```
//!
//! A lease that nobody renews runs out: of a syncer that is gone no rule is left that could lead a port astray, and the engine's own
//! rules do what they always did. Only packets that come in at the role's interface and those of the node itself are meant; containers reach
//! the host ports of their neighbours the engine's way.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::containers::{Containers, Process, Tasks};
use super::nft::{self, Found, Table, TableError};
use crate::backoff::Backoff;
use crate::error::chain;
use crate::parts::Parts;

const TABLE: &str = "nomad_ipvs_ports";

/// How long a rule holds that nobody renews, in seconds.
const LEASE_SECONDS: u64 = 30;

/// How often leases are renewed, and compared with what the kernel has.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(5);

/// The engine publishes a port for both.
const PROTOCOLS: [&str; 2] = ["tcp", "udp"];

/// How the ports stand.
#[derive(Debug, Clone, Default)]
pub struct Leases {
    /// The containers' own addresses, by host address.
    pub ports: BTreeMap<SocketAddr, SocketAddr>,
    /// Why the table is not as it should be.
    pub error: Option<String>,
}

/// Starts to lease ports, until `stop`.
pub async fn start(
    interface: &str,
    containers: &Containers,
    parts: &mut Parts,
    stop: &CancellationToken,
) -> Result<watch::Receiver<Leases>, TableError> {
    // Addresses for documentation: nobody has them.
    let example = [1, 2].map(|host| SocketAddr::from(([192, 0, 2, host], 9)));
    nft::probe(
        "nomad_ipvs_ports_probe",
        &body(&[example.into()].into(), "lo"),
    )
    .await?;
    let (publisher, leases) = watch::channel(Leases::default());
    let lessor = Lessor {
        interface: interface.to_owned(),
        containers: containers.subscribe(),
        table: Table::new(TABLE),
        publisher,
    };
    let stop = stop.clone();
    parts.spawn("the leases of host ports", async move {
        stop.run_until_cancelled(lessor.run()).await;
    });
    Ok(leases)
}

/// Takes away what an earlier process has left; a machine without nftables has nothing of it.
pub async fn clear() {
    if let Err(error) = nft::remove(TABLE).await {
        debug!(
            error = chain(&error),
            "no table of host ports is taken away"
        );
    }
}

struct Lessor {
    interface: String,
    containers: watch::Receiver<Arc<Tasks>>,
    table: Table,
    publisher: watch::Sender<Leases>,
}

impl Lessor {
    async fn run(mut self) {
        let mut backoff = Backoff::default();
        let mut due = Instant::now();
        loop {
            let pause = match self.pass(Instant::now() >= due).await {
                Ok(Done::Nothing) => due.saturating_duration_since(Instant::now()),
                Ok(Done::Renewed) => {
                    backoff.reset();
                    RENEWAL_INTERVAL
                }
                Err(error) => {
                    let error = chain(&error);
                    warn!(
                        error,
                        "leases of host ports run out, and they are the engine's alone until this is over"
                    );
                    self.publisher.send_modify(|leases| {
                        leases.ports.clear();
                        leases.error = Some(error);
                    });
                    backoff.fail()
                }
            };
            due = Instant::now() + pause;
            // All are cancel-safe: a change that is not seen here is in what is read next.
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                changed = self.containers.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Sets the table where it differs from what it should be, and when its leases are to be renewed.
    async fn pass(&mut self, is_due: bool) -> Result<Done, TableError> {
        let tasks = Arc::clone(&self.containers.borrow_and_update());
        let ports = living(&tasks, Process::lives);
        let body = body(&ports, &self.interface);
        let is_as_wanted = self.table.is(&body);
        if is_as_wanted && !is_due {
            return Ok(Done::Nothing);
        }
        if is_due {
            match self.table.look().await {
                Ok(Found::AsSet) => {}
                Ok(Found::Changed) => {
                    warn!("the table of host ports is not as it was set; it is set again");
                }
                // Not to be known is no reason to let leases run out.
                Err(error) => warn!(
                    error = chain(&error),
                    "the table of host ports is not compared"
                ),
            }
        }
        self.table.replace(body).await?;
        if !is_as_wanted {
            info!(ports = ports.len(), "host ports lead to containers");
        }
        let leases = Leases { ports, error: None };
        self.publisher.send_replace(leases);
        Ok(Done::Renewed)
    }
}

enum Done {
    Nothing,
    Renewed,
}

/// Lists the ports of tasks whose processes live. What ended while nobody was there to hear it, or was started anew, has none that does.
/// A port on loopback is the engine's: who asks there has an address that no container can answer.
fn living(tasks: &Tasks, lives: impl Fn(&Process) -> bool) -> BTreeMap<SocketAddr, SocketAddr> {
    let living = tasks
        .values()
        .filter(|task| task.process.as_ref().is_some_and(&lives));
    let ports = living.flat_map(|task| task.ports.iter().copied());
    ports
        .filter(|(host, own)| host.is_ipv4() && own.is_ipv4() && !host.ip().is_loopback())
        .collect()
}

/// What is between the table's braces. Before the engine's own rules, which know the same ports.
fn body(ports: &BTreeMap<SocketAddr, SocketAddr>, interface: &str) -> String {
    let pair = |(host, own): (&SocketAddr, &SocketAddr)| {
        let (host, host_port, own, own_port) = (host.ip(), host.port(), own.ip(), own.port());
        format!("{host} . {host_port} : {own} . {own_port}")
    };
    let pairs: Vec<String> = ports.iter().map(pair).collect();
    let elements = match pairs.as_slice() {
        [] => String::new(),
        pairs => format!(" elements = {{ {} }};", pairs.join(", ")),
    };
    let (mut maps, mut foreign, mut own) = (String::new(), String::new(), String::new());
    for protocol in PROTOCOLS {
        let choice = format!("dnat to ip daddr . {protocol} dport map @{protocol}_ports");
        // Writing into a String does not fail.
        let _ = writeln!(
            maps,
            "  map {protocol}_ports {{ type ipv4_addr . inet_service : ipv4_addr . inet_service; flags timeout; timeout {LEASE_SECONDS}s;{elements} }}"
        );
        let _ = writeln!(foreign, "    iifname \"{interface}\" {choice}");
        let _ = writeln!(own, "    {choice}");
    }
    format!(
        "{maps}\
         \x20 chain pre {{\n    type nat hook prerouting priority dstnat - 1; policy accept;\n{foreign}  }}\n\
         \x20 chain out {{\n    type nat hook output priority -101; policy accept;\n{own}  }}\n"
    )
}

#[cfg(test)]
mod tests;
