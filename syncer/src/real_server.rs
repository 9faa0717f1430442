//! The node's role for direct routing: packets to a VIP that a director sends here go to this node's own instances, which
//! answer the client themselves.
//!
//! ```text
//! director ══offer══▶ link ─▶ loop ─▶ rules (pure) ─▶ table (nftables) ─▶ taken ══▶ director
//!                              ▲ container addresses, from the node's drivers
//! ```
//!
//! The VIP is on no interface of this node, which therefore answers no ARP for it: packets arrive by the director's choice alone, and
//! are given to an instance before the kernel asks whose address it is. Who decides is the director; this does as the offers say and
//! keeps it while no director speaks. On exit everything stays as it is.

mod containers;
mod directors;
mod flows;
mod link;
mod nft;
pub mod ports;
mod rules;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use ipvs::ServiceId;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

pub use containers::Containers;

use containers::{Tasks, new_ports, places};
use directors::{Directors, leaving};
use flows::{forget_flows, has_open};
use link::{Incoming, link};
use nft::{Found, Table};
use rules::{Rules, rules};

pub use nft::TableError;

use crate::backoff::Backoff;
use crate::config::{HostPort, RealServerConfig as Settings, Tls};
use crate::dataplane::flow;
use crate::error::chain;
use crate::parts::Parts;

/// The file of containers' addresses, beside the socket for hints.
const CONTAINERS: &str = "containers.json";

/// How often the table is compared with what was set.
const AUDIT_INTERVAL: Duration = Duration::from_secs(2);

/// How often it is looked whether instances that get nothing new have connections open, while some have.
const COUNT_INTERVAL: Duration = Duration::from_millis(200);

/// How the role stands.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// What is taken, by virtual service: where its packets go.
    pub taken: BTreeMap<ServiceId, Vec<(SocketAddr, u32)>>,
    pub refused: Vec<(String, String)>,
    /// Why the table is not as it should be.
    pub error: Option<String>,
    /// Directors that have not been heard yet.
    pub unheard: usize,
}

/// Why the role can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("real_server.interface {0}: it has no IPv4 address, or there is no such interface")]
    NoAddress(String),
    #[error("real_server")]
    Table(#[from] TableError),
}

/// Starts the loop and a stream to each director, until `stop`.
pub async fn start(
    settings: &Settings,
    (directors, tls): (&[HostPort], Option<&Tls>),
    (containers, folder): (&Containers, &Path),
    parts: &mut Parts,
    stop: &CancellationToken,
) -> Result<watch::Receiver<Standing>, StartError> {
    let addresses = addresses(&settings.interface);
    if addresses.is_empty() {
        return Err(StartError::NoAddress(settings.interface.clone()));
    }
    table::is_possible().await?;
    let file = folder.join(CONTAINERS);
    containers.read(&file);
    let (inbox, incoming) = mpsc::channel(directors.len().max(1));
    for (director, place) in directors.iter().enumerate() {
        let line = link(
            director,
            place.clone(),
            tls.cloned(),
            addresses.clone(),
            inbox.clone(),
        );
        let stop = stop.clone();
        parts.spawn("the stream of a director's offers", async move {
            stop.run_until_cancelled(line).await;
        });
    }
    let (publisher, standing) = watch::channel(Standing {
        unheard: directors.len(),
        ..Standing::default()
    });
    let role = RealServer {
        interface: settings.interface.clone(),
        own: settings.own.clone(),
        tasks: Arc::clone(&containers.subscribe().borrow()),
        containers: containers.subscribe(),
        file,
        incoming,
        directors: Directors::new(directors.len()),
        table: Table::new(table::TABLE),
        rules: None,
        publisher,
    };
    let stop = stop.clone();
    parts.spawn("the real server's role", async move {
        stop.run_until_cancelled(role.run()).await;
    });
    Ok(standing)
}

/// The addresses of an interface.
fn addresses(interface: &str) -> Vec<IpAddr> {
    let Ok(all) = nix::ifaddrs::getifaddrs() else {
        return Vec::new();
    };
    let own = all.filter(|entry| entry.interface_name == interface);
    own.filter_map(|entry| Some(IpAddr::from(entry.address?.as_sockaddr_in()?.ip())))
        .collect()
}

/// Takes away what an earlier process with the role has left; a machine without nftables has nothing of it.
pub async fn clear() {
    if let Err(error) = nft::remove(table::TABLE).await {
        debug!(
            error = crate::error::chain(&error),
            "no table of direct routing is taken away"
        );
    }
}

struct RealServer {
    interface: String,
    own: Vec<IpNet>,
    containers: watch::Receiver<Arc<Tasks>>,
    /// As they were written down last.
    tasks: Arc<Tasks>,
    /// Where they are written down.
    file: PathBuf,
    incoming: mpsc::Receiver<Incoming>,
    directors: Directors,
    table: Table,
    /// What the table was set to last.
    rules: Option<Rules>,
    publisher: watch::Sender<Standing>,
}

impl RealServer {
    async fn run(mut self) {
        let mut backoff = Backoff::default();
        let mut audited = Instant::now();
        let mut due = audited + AUDIT_INTERVAL;
        loop {
            // All are cancel-safe: a change that is not seen here is in what is read next.
            let audit = tokio::select! {
                incoming = self.incoming.recv() => match incoming {
                    Some(incoming) => {
                        self.directors.hear(incoming);
                        while let Ok(incoming) = self.incoming.try_recv() {
                            self.directors.hear(incoming);
                        }
                        false
                    }
                    None => return,
                },
                changed = self.containers.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.take_note().await;
                    false
                }
                () = tokio::time::sleep_until(due) => audited.elapsed() >= AUDIT_INTERVAL,
            };
            if audit {
                audited = Instant::now();
            }
            let pause = match self.pass(audit).await {
                Ok(()) => {
                    backoff.reset();
                    if self.directors.has_busy() {
                        COUNT_INTERVAL
                    } else {
                        AUDIT_INTERVAL
                    }
                }
                Err(error) => {
                    let error = crate::error::chain(&error);
                    warn!(error, "packets to VIPs are not taken as they should be");
                    self.publisher
                        .send_modify(|standing| standing.error = Some(error));
                    backoff.fail()
                }
            };
            due = Instant::now() + pause;
        }
    }

    /// Writes down where containers are. What the tracker knows of those that were at the addresses of new ones is forgotten.
    async fn take_note(&mut self) {
        let tasks = Arc::clone(&self.containers.borrow_and_update());
        let ports = new_ports(&self.tasks, &tasks);
        if let Err(error) = flow::forget_strays(ports).await {
            let error = chain(&error);
            warn!(error, "flows to earlier containers are not forgotten");
        }
        if let Err(error) = containers::write(&self.file, &tasks).await {
            warn!(file = %self.file.display(), %error, "containers' addresses are not written down");
        }
        self.tasks = tasks;
    }

    /// Brings the table to what the offers want, and answers them.
    async fn pass(&mut self, audit: bool) -> Result<(), TableError> {
        let unheard = self.directors.unheard();
        let Some(offers) = self.directors.current_offers() else {
            self.publisher
                .send_modify(|standing| standing.unheard = unheard);
            return Ok(());
        };
        let containers = places(&self.containers.borrow());
        let leaving = leaving(&offers);
        let (wanted, refused) = rules(offers.into_iter(), &containers, &self.own);
        let body = table::body(&wanted, &self.interface);
        let is_changed = audit && self.table.look().await? == Found::Changed;
        if is_changed {
            warn!("the table of direct routing is not as it was set; it is set again");
        }
        if is_changed || !self.table.is(&body) {
            self.table.replace(body).await?;
            forget_flows(self.rules.take().as_ref(), !is_changed, &wanted).await;
            info!(
                services = wanted.services.len(),
                "packets to VIPs are taken"
            );
            self.rules = Some(wanted);
        }
        let mut busy = BTreeSet::new();
        for (id, address) in leaving {
            let place = containers.get(&address).copied().unwrap_or(address);
            if has_open(&id, place).await {
                busy.insert((id, address));
            }
        }
        self.directors.answer(&refused, busy);
        let taken = self.rules.iter().flat_map(|rules| &rules.services);
        self.publisher.send_replace(Standing {
            taken: taken.map(|(id, targets)| (*id, targets.clone())).collect(),
            refused: refused
                .into_iter()
                .map(|refusal| (refusal.id.to_string(), refusal.reason))
                .collect(),
            error: None,
            unheard,
        });
        Ok(())
    }
}
