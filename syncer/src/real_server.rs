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
mod open;
mod rules;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use ipvs::{Protocol, ServiceId};
use nomad_ipvs_proto::real_server::{Answer, Busy, Refusal as RefusalMessage};
use syncer_core::pass::Key;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

pub use containers::Containers;

use containers::{Tasks, places};
use link::{Incoming, link};
use open::has_open;
use rules::{Refusal, Rules, rules};
use table::TableError;

use crate::backoff::Backoff;
use crate::config::{HostPort, RealServerConfig as Settings, Tls};
use crate::dataplane::flow::forget_of;
use crate::offer::NodeOffer;
use crate::parts::Parts;

/// The file of containers' addresses, beside the socket for hints.
const CONTAINERS: &str = "containers.json";

/// How often the table is compared with what was set.
const AUDIT_INTERVAL: Duration = Duration::from_secs(2);

/// How often it is looked whether instances that get nothing new have connections open, while some have.
const COUNT_INTERVAL: Duration = Duration::from_millis(200);

/// What a director wanted stays for so long while it can't be heard: after the start of this process, and after its stream is gone. For
/// ever if no other is heard.
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
    (containers, folder): (&Containers, &Path),
    parts: &mut Parts,
    stop: &CancellationToken,
) -> Result<watch::Receiver<Standing>, StartError> {
    let addresses = addresses(&settings.interface);
    if addresses.is_empty() {
        return Err(StartError::NoAddress(settings.interface.clone()));
    }
    table::probe().await?;
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
        containers: containers.subscribe(),
        file,
        incoming,
        offers: directors.iter().map(|_| Hearing::Nothing).collect(),
        answers: BTreeMap::new(),
        busy: BTreeSet::new(),
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
    let own = all.filter(|entry| entry.interface_name == interface);
    own.filter_map(|entry| Some(IpAddr::from(entry.address?.as_sockaddr_in()?.ip())))
        .collect()
}

/// The tracker keeps a UDP flow for as long as its client sends: of instances that take nothing any more they are forgotten.
async fn forget_flows(before: &Rules, now: &Rules) {
    for (id, places) in &before.services {
        if id.protocol() != Some(Protocol::Udp) {
            continue;
        }
        let stays = now.services.get(id).map(Vec::as_slice).unwrap_or_default();
        for (place, _) in places {
            if stays.iter().any(|(other, _)| other == place) {
                continue;
            }
            if let Err(error) = forget_of(id, *place).await {
                warn!(%id, %place, error = error.chain(), "flows to an instance that is gone are not forgotten");
            }
        }
    }
}

/// The way back for answers to an offer.
struct Reply {
    number: u64,
    stream: mpsc::Sender<Answer>,
    is_due: bool,
}

/// What was heard of a director.
enum Hearing {
    Nothing,
    /// Its stream is open, and this is its last offer.
    Offer(NodeOffer),
    /// Its stream is gone since then; this was its last offer.
    Gone(NodeOffer, Instant),
}

/// Takes away what an earlier process with the role has left; a machine without nftables has nothing of it.
pub async fn clear() {
    if let Err(error) = table::remove().await {
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
    /// Where they are written down.
    file: PathBuf,
    incoming: mpsc::Receiver<Incoming>,
    /// Of each director.
    offers: Vec<Hearing>,
    /// How each director's last offer is answered.
    answers: BTreeMap<usize, Reply>,
    /// Instances that get nothing new and still have connections open, as the last answers say.
    busy: BTreeSet<Key>,
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
                changed = self.containers.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.write_down().await;
                    false
                }
                () = tokio::time::sleep_until(due) => true,
            };
            let pause = match self.pass(audit).await {
                Ok(()) => {
                    backoff.reset();
                    if self.busy.is_empty() {
                        AUDIT_INTERVAL
                    } else {
                        COUNT_INTERVAL
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

    fn hear(&mut self, incoming: Incoming) {
        let mut next = Some(incoming);
        while let Some(incoming) = next {
            match incoming {
                Incoming::Offer {
                    director,
                    number,
                    offer,
                    answer,
                } => {
                    let reply = Reply {
                        number,
                        stream: answer,
                        is_due: true,
                    };
                    self.answers.insert(director, reply);
                    if let Some(heard) = self.offers.get_mut(director) {
                        *heard = Hearing::Offer(offer);
                    }
                }
                Incoming::Gone { director } => {
                    self.answers.remove(&director);
                    if let Some(heard) = self.offers.get_mut(director)
                        && let Hearing::Offer(offer) = heard
                    {
                        *heard = Hearing::Gone(std::mem::take(offer), Instant::now());
                    }
                }
            }
            next = self.incoming.try_recv().ok();
        }
    }

    async fn write_down(&mut self) {
        let tasks = Arc::clone(&self.containers.borrow_and_update());
        if let Err(error) = containers::write(&self.file, &tasks).await {
            warn!(file = %self.file.display(), %error, "containers' addresses are not written down");
        }
    }

    /// The offers that count; `None` while a director may still want what another does not know of.
    fn current_offers(&self) -> Option<Vec<&NodeOffer>> {
        let is_late = |since: Instant| since.elapsed() >= DIRECTORS_WAIT;
        let unheard = |heard: &&Hearing| matches!(heard, Hearing::Nothing);
        let some_are_unheard = self.offers.iter().any(|heard| unheard(&heard));
        if some_are_unheard && !is_late(self.started) {
            return None;
        }
        let is_offered = self
            .offers
            .iter()
            .any(|heard| matches!(heard, Hearing::Offer(_)));
        let counts = |heard| match heard {
            &Hearing::Nothing => None,
            Hearing::Offer(offer) => Some(offer),
            Hearing::Gone(offer, since) => (!is_offered || !is_late(*since)).then_some(offer),
        };
        let offers: Vec<&NodeOffer> = self.offers.iter().filter_map(counts).collect();
        (!offers.is_empty()).then_some(offers)
    }

    fn unheard(&self) -> usize {
        let offers = self.offers.iter();
        offers
            .filter(|heard| !matches!(heard, Hearing::Offer(_)))
            .count()
    }

    /// Brings the table to what the offers want, and answers them.
    async fn pass(&mut self, audit: bool) -> Result<(), TableError> {
        let unheard = self.unheard();
        let Some(offers) = self.current_offers() else {
            self.publisher
                .send_modify(|standing| standing.unheard = unheard);
            return Ok(());
        };
        let containers = places(&self.containers.borrow());
        let leaving = leaving(&offers);
        let (wanted, refused) = rules(offers.into_iter(), &containers, &self.own);
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
            let before = self.set.take();
            table::set(&wanted, &self.interface).await?;
            if let Some((before, _)) = before {
                forget_flows(&before, &wanted).await;
            }
            let listed = table::list().await?.unwrap_or_default();
            info!(
                services = wanted.services.len(),
                "packets to VIPs are taken"
            );
            self.set = Some((wanted, listed));
        }
        let mut busy = BTreeSet::new();
        for (id, address) in leaving {
            let place = containers.get(&address).copied().unwrap_or(address);
            if has_open(&id, place).await? {
                busy.insert((id, address));
            }
        }
        self.answer(&refused, busy);
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

    fn answer(&mut self, refused: &[Refusal], busy: BTreeSet<Key>) {
        let is_news = self.busy != busy;
        self.busy = busy;
        for reply in self.answers.values_mut() {
            if !reply.is_due && !is_news {
                continue;
            }
            reply.is_due = false;
            let refused = refused.iter().map(|refusal| RefusalMessage {
                id: refusal.id.to_string(),
                reason: refusal.reason.clone(),
            });
            let busy = self.busy.iter().map(|(id, address)| Busy {
                id: id.to_string(),
                address: address.to_string(),
            });
            // A stream that is full or gone ends, and the next begins with an offer.
            let _ = reply.stream.try_send(Answer {
                number: reply.number,
                addresses: Vec::new(),
                refusals: refused.collect(),
                busy: busy.collect(),
            });
        }
    }
}

/// Instances that get nothing new.
fn leaving(offers: &[&NodeOffer]) -> Vec<Key> {
    let instances = offers.iter().flat_map(|offer| offer.iter());
    let leaving = instances.flat_map(|(id, instances)| {
        let leaving = instances
            .iter()
            .filter(|instance| !instance.weight.serves());
        leaving.map(|instance| (*id, instance.address))
    });
    leaving.collect()
}

#[cfg(test)]
mod tests;
