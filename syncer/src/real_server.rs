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
mod link;
mod rules;
mod table;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use ipvs::ServiceId;
use nomad_ipvs_proto::real_server::{Refusal as RefusalMessage, Taken};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use containers::Containers;

use link::{Incoming, link};
use rules::{Refusal, Rules, rules};
use table::TableError;

use crate::backoff::Backoff;
use crate::config::{HostPort, RealServerConfig as Settings, Tls};
use crate::offer::NodeOffer;
use crate::parts::Parts;

/// How often the table is compared with what was set.
const AUDIT_INTERVAL: Duration = Duration::from_secs(2);

/// After the start: what a director wanted before it is heard again stays until then, or until it has had this long.
const DIRECTORS_WAIT: Duration = Duration::from_secs(15);

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
    containers: &Containers,
    parts: &mut Parts,
    stop: &CancellationToken,
) -> Result<watch::Receiver<Standing>, StartError> {
    let addresses = addresses(&settings.interface);
    if addresses.is_empty() {
        return Err(StartError::NoAddress(settings.interface.clone()));
    }
    table::probe().await?;
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
    let (publisher, standing) = watch::channel(Standing::default());
    let role = RealServer {
        interface: settings.interface.clone(),
        own: settings.own.clone(),
        containers: containers.subscribe(),
        incoming,
        offers: directors.iter().map(|_| None).collect(),
        answers: BTreeMap::new(),
        started: Instant::now(),
        set: None,
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
    let own = all.filter(|one| one.interface_name == interface);
    own.filter_map(|one| Some(IpAddr::from(one.address?.as_sockaddr_in()?.ip())))
        .collect()
}

struct RealServer {
    interface: String,
    own: Vec<IpNet>,
    containers: watch::Receiver<BTreeMap<SocketAddr, SocketAddr>>,
    incoming: mpsc::Receiver<Incoming>,
    /// The last offer of each director; `None` before it is heard.
    offers: Vec<Option<NodeOffer>>,
    /// Offers that wait for their answer, by director.
    answers: BTreeMap<usize, (u64, mpsc::Sender<Taken>)>,
    started: Instant,
    /// What was set, and what the kernel lists of it.
    set: Option<(Rules, String)>,
    publisher: watch::Sender<Standing>,
}

impl RealServer {
    async fn run(mut self) {
        let mut backoff = Backoff::default();
        let mut due = Instant::now() + AUDIT_INTERVAL;
        loop {
            // All are cancel-safe: a change that is not seen here is in what is read next.
            let audit = tokio::select! {
                incoming = self.incoming.recv() => match incoming {
                    Some(incoming) => {
                        self.hear(incoming);
                        false
                    }
                    None => return,
                },
                changed = self.containers.changed() => if changed.is_err() { return } else { false },
                () = tokio::time::sleep_until(due) => true,
            };
            let pause = match self.pass(audit).await {
                Ok(()) => {
                    backoff.reset();
                    AUDIT_INTERVAL
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

    fn hear(&mut self, incoming: Incoming) {
        let mut next = Some(incoming);
        while let Some(Incoming {
            director,
            number,
            offer,
            answer,
        }) = next
        {
            self.answers.insert(director, (number, answer));
            if let Some(known) = self.offers.get_mut(director) {
                *known = Some(offer);
            }
            next = self.incoming.try_recv().ok();
        }
    }

    /// Brings the table to what the offers want, and answers them.
    async fn pass(&mut self, audit: bool) -> Result<(), TableError> {
        let unheard = self.offers.iter().filter(|offer| offer.is_none()).count();
        if unheard > 0 && (self.started.elapsed() < DIRECTORS_WAIT || unheard == self.offers.len())
        {
            self.publisher
                .send_modify(|standing| standing.unheard = unheard);
            return Ok(());
        }
        let containers = self.containers.borrow_and_update().clone();
        let offers = self.offers.iter().flatten();
        let (wanted, refused) = rules(offers, &containers, &self.own);
        let listed = match &self.set {
            Some((set, listed)) if *set == wanted => Some(listed),
            _ => None,
        };
        let as_set = match listed {
            Some(listed) if audit => {
                let is_same = table::list().await?.as_ref() == Some(listed);
                if !is_same {
                    warn!("the table of direct routing is not as it was set; it is set again");
                }
                is_same
            }
            Some(_) => true,
            None => false,
        };
        if !as_set {
            self.set = None;
            table::set(&wanted, &self.interface).await?;
            let listed = table::list().await?.unwrap_or_default();
            info!(
                services = wanted.services.len(),
                "packets to VIPs are taken"
            );
            self.set = Some((wanted, listed));
        }
        self.answer(&refused);
        let taken = self.set.iter().flat_map(|(rules, _)| &rules.services);
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

    fn answer(&mut self, refused: &[Refusal]) {
        for (number, answer) in std::mem::take(&mut self.answers).into_values() {
            let refused = refused.iter().map(|refusal| RefusalMessage {
                id: refusal.id.to_string(),
                reason: refusal.reason.clone(),
            });
            // A stream that is full or gone: its director offers again.
            let _ = answer.try_send(Taken {
                number,
                addresses: Vec::new(),
                refused: refused.collect(),
            });
        }
    }
}
