//! The director's side of the nodes' streams: each node is told what it shall take, and says what it takes.
//!
//! A node is believed about its own addresses only: a stranger's "taken" would send packets to a node that drops them, and an
//! offer says where others' instances are.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use ipvs::ServiceId;
use nomad_ipvs_proto::real_server::real_servers_server::{RealServers, RealServersServer};
use nomad_ipvs_proto::real_server::{
    Answer, Instance as InstanceMessage, Offer as Message, Service as ServiceMessage,
};
use syncer_core::model::fleet::Fleet;
use syncer_core::pass::Key;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use tracing::{info, warn};

use super::caller::Caller;
use super::guest::Call;
use super::rate::Rates;
use crate::offer::{self, Instance, NodeOffer, NodeOffers, Offers};
use crate::source::Published;
use crate::source::driver::Speaker;

/// The longest message of a node: a refusal with its reason for each of some thousand services.
const MESSAGE_LIMIT: usize = 1 << 20;

/// Offers on their way to a node: of one that answers more slowly than that the oldest count no more.
const UNANSWERED: usize = 16;

/// Refusals of one answer that the log names.
const NAMED: usize = 16;

/// Addresses that one node may say are its own.
const ADDRESSES: usize = 64;

/// The service, beside that for hints.
#[derive(Debug)]
pub(super) struct Takers {
    pub(super) offers: Offers,
    pub(super) fleet: watch::Receiver<Published<Fleet>>,
    /// The same allowance as for hints.
    pub(super) rates: Arc<Rates>,
    pub(super) stop: CancellationToken,
}

impl Takers {
    pub(super) fn service(self) -> RealServersServer<Self> {
        RealServersServer::new(self).max_decoding_message_size(MESSAGE_LIMIT)
    }
}

#[tonic::async_trait]
impl RealServers for Takers {
    type TakeStream = ReceiverStream<Result<Message, Status>>;

    async fn take(
        &self,
        request: Request<Streaming<Answer>>,
    ) -> Result<Response<Self::TakeStream>, Status> {
        let caller = Caller::of(request.extensions());
        let (messages, outgoing) = mpsc::channel(1);
        let node = Node {
            offers: self.offers.clone(),
            fleet: self.fleet.clone(),
            speaker: caller.speaker,
            claims: BTreeSet::new(),
            own: BTreeSet::new(),
            number: 0,
            sent: VecDeque::new(),
            refusals: BTreeSet::new(),
            _call: caller.call,
        };
        let turns = self.rates.of(caller.origin);
        let answers = Box::pin(request.into_inner().then(move |answer| {
            let turns = turns.clone();
            async move {
                turns.next().await;
                answer
            }
        }));
        let stop = self.stop.clone();
        tokio::spawn(async move {
            stop.run_until_cancelled(node.serve(answers, messages))
                .await
        });
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}

/// One node's stream.
struct Node {
    offers: Offers,
    fleet: watch::Receiver<Published<Fleet>>,
    speaker: Speaker,
    /// What it says are its addresses.
    claims: BTreeSet<IpAddr>,
    /// Those of them that are its own by its certificate, once that was seen on this stream.
    own: BTreeSet<IpAddr>,
    number: u64,
    /// Offers on their way, the newest last; of those that were answered the last one.
    sent: VecDeque<(u64, NodeOffer)>,
    /// What it refused last, for the log.
    refusals: BTreeSet<ServiceId>,
    _call: Option<Call>,
}

impl Node {
    /// Serves the stream until either side has gone.
    async fn serve(
        mut self,
        mut answers: impl Stream<Item = Result<Answer, Status>> + Unpin,
        messages: mpsc::Sender<Result<Message, Status>>,
    ) {
        let Some(Ok(first)) = answers.next().await else {
            return;
        };
        let parsed = first.addresses.iter().map(|address| address.parse());
        match parsed.collect::<Result<BTreeSet<IpAddr>, _>>() {
            Ok(addresses) if (1..=ADDRESSES).contains(&addresses.len()) => self.claims = addresses,
            _ => {
                let why = format!("the first message names 1 to {ADDRESSES} addresses");
                let _ = messages.send(Err(Status::invalid_argument(why))).await;
                return;
            }
        }
        let mut offered = self.offers.subscribe();
        loop {
            self.prove();
            let newest = offered.borrow_and_update().clone();
            if let Some(message) = newest.and_then(|offered| self.next(&offered))
                && messages.send(Ok(message)).await.is_err()
            {
                return;
            }
            // All are cancel-safe.
            tokio::select! {
                changed = offered.changed() => if changed.is_err() { return },
                // Whose addresses are whose is Nomad's word.
                changed = self.fleet.changed(), if self.own.len() < self.claims.len() => {
                    if changed.is_err() {
                        return;
                    }
                }
                answer = answers.next() => match answer {
                    Some(Ok(answer)) => self.note(&answer),
                    Some(Err(_)) | None => return,
                },
            }
        }
    }

    /// Looks which of the claims addresses are the node's own. One that was stays so: an offer that lacks its instances would have
    /// the node drop what comes to them.
    fn prove(&mut self) {
        if self.own.len() == self.claims.len() {
            return;
        }
        let published = self.fleet.borrow_and_update();
        let fleet = published.view.as_deref();
        for address in self.claims.difference(&self.own.clone()) {
            let host = fleet.and_then(|fleet| fleet.host(*address));
            let names = host.iter().flat_map(|host| [&*host.name, &*host.id]);
            if self.speaker.is_at(*address, names) {
                info!(%address, "a node takes packets to VIPs");
                self.own.insert(*address);
                self.offers.forgive(*address);
            }
        }
    }

    /// The next message, if it differs from the one before or is the first. None for a node of which nothing is proven: an offer
    /// is the whole of what it shall take.
    fn next(&mut self, offered: &NodeOffers) -> Option<Message> {
        if self.own.is_empty() {
            return None;
        }
        let mut offer = NodeOffer::new();
        for address in &self.own {
            for (id, instances) in offered.get(address).into_iter().flatten() {
                offer.entry(*id).or_default().extend(instances);
            }
        }
        if self.sent.back().is_some_and(|(_, before)| *before == offer) {
            return None;
        }
        self.number += 1;
        let message = message(self.number, &offer);
        if self.sent.len() == UNANSWERED {
            self.sent.pop_front();
        }
        self.sent.push_back((self.number, offer));
        Some(message)
    }

    /// Takes an answer in: it is true of the offer that it is about, however many came after that.
    fn note(&mut self, answer: &Answer) {
        while self
            .sent
            .front()
            .is_some_and(|(number, _)| *number < answer.number)
        {
            self.sent.pop_front();
        }
        let Some((_, offer)) = self
            .sent
            .front()
            .filter(|(number, _)| *number == answer.number)
        else {
            return;
        };
        let ids = answer.refusals.iter();
        let refused: BTreeSet<ServiceId> = ids.filter_map(|one| one.id.parse().ok()).collect();
        if refused != self.refusals {
            for refusal in answer.refusals.iter().take(NAMED) {
                let addresses = &self.own;
                warn!(
                    service = refusal.id,
                    reason = refusal.reason,
                    ?addresses,
                    "a node does not take a service"
                );
            }
        }
        let mut by_node: BTreeMap<IpAddr, (offer::Shares, BTreeSet<Key>)> = BTreeMap::new();
        by_node.extend(
            self.own
                .iter()
                .map(|address| (*address, Default::default())),
        );
        for (id, instances) in offer {
            for instance in instances {
                let key = (*id, instance.address);
                let node = by_node.entry(instance.address.ip()).or_default();
                if refused.contains(id) {
                    node.1.insert(key);
                } else {
                    node.0.insert(key, instance.weight);
                }
            }
        }
        let busy = answer.busy.iter().filter_map(|busy| {
            let (id, address) = (busy.id.parse().ok()?, busy.address.parse().ok()?);
            Some((id, address))
        });
        let busy: BTreeSet<Key> = busy.collect();
        for (address, (taken, refused)) in by_node {
            let of_node = busy.iter().filter(|(_, instance)| instance.ip() == address);
            self.offers.note_busy(address, of_node.copied().collect());
            self.offers.take(address, taken, refused);
        }
        self.refusals = refused;
    }
}

fn message(number: u64, offer: &NodeOffer) -> Message {
    let service = |(id, instances): (&ServiceId, &Vec<Instance>)| ServiceMessage {
        id: id.to_string(),
        instances: instances
            .iter()
            .map(|instance| InstanceMessage {
                address: instance.address.to_string(),
                weight: instance.weight.get(),
            })
            .collect(),
    };
    Message {
        number,
        services: offer.iter().map(service).collect(),
    }
}
