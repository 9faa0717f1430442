//! The director's side of the nodes' streams: each node is told what it shall take, and says what it takes.
//!
//! A node is believed about its own addresses only: a stranger's "taken" would send packets to a node that drops them, and an
//! offer says where others' instances are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipvs::ServiceId;
use nomad_ipvs_proto::real_server::real_servers_server::{RealServers, RealServersServer};
use nomad_ipvs_proto::real_server::{
    Instance as InstanceMessage, Offer as Message, Service as ServiceMessage, Taken,
};
use syncer_core::model::fleet::Fleet;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use tracing::{info, warn};

use super::guest::Call;
use super::listener::Caller;
use crate::offer::{self, Instance, NodeOffer, Offered, Offers};
use crate::source::Published;
use crate::source::driver::Speaker;

/// The longest message of a node: a refusal with its reason for each of some hundred services.
const MESSAGE_LIMIT: usize = 64 << 10;

/// Addresses that one node may say are its own.
const ADDRESSES: usize = 64;

/// The service, beside that for hints.
#[derive(Debug)]
pub(super) struct Takers {
    pub(super) offers: Offers,
    pub(super) fleet: watch::Receiver<Published<Fleet>>,
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
        request: Request<Streaming<Taken>>,
    ) -> Result<Response<Self::TakeStream>, Status> {
        let caller = Caller::of(request.extensions());
        let (messages, outgoing) = mpsc::channel(1);
        let node = Node {
            offers: self.offers.clone(),
            fleet: self.fleet.clone(),
            speaker: caller.speaker,
            addresses: BTreeSet::new(),
            sent: (0, NodeOffer::new()),
            _call: caller.call,
        };
        let (stop, answers) = (self.stop.clone(), request.into_inner());
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
    addresses: BTreeSet<IpAddr>,
    /// The last offer that was sent, with its number.
    sent: (u64, NodeOffer),
    _call: Option<Call>,
}

impl Node {
    /// Serves the stream until either side has gone.
    async fn serve(
        mut self,
        mut answers: Streaming<Taken>,
        messages: mpsc::Sender<Result<Message, Status>>,
    ) {
        let Ok(Some(first)) = answers.message().await else {
            return;
        };
        let parsed = first.addresses.iter().map(|address| address.parse());
        match parsed.collect::<Result<BTreeSet<IpAddr>, _>>() {
            Ok(addresses) if !addresses.is_empty() && addresses.len() <= ADDRESSES => {
                self.addresses = addresses;
            }
            _ => {
                let why = format!("the first message names 1 to {ADDRESSES} addresses");
                let _ = messages.send(Err(Status::invalid_argument(why))).await;
                return;
            }
        }
        info!(addresses = ?self.addresses, "a node takes packets to VIPs");
        let mut offered = self.offers.subscribe();
        loop {
            let newest = offered.borrow_and_update().clone();
            if let Some(message) = newest.and_then(|offered| self.next(&offered))
                && messages.send(Ok(message)).await.is_err()
            {
                return;
            }
            // Both are cancel-safe.
            tokio::select! {
                changed = offered.changed() => if changed.is_err() { return },
                answer = answers.message() => match answer {
                    Ok(Some(answer)) => self.note(&answer),
                    Ok(None) | Err(_) => return,
                },
            }
        }
    }

    /// The next message, if it differs from the one before or is the first.
    fn next(&mut self, offered: &Offered) -> Option<Message> {
        let mut offer = NodeOffer::new();
        for address in self.own() {
            for (id, instances) in offered.get(&address).into_iter().flatten() {
                offer.entry(*id).or_default().extend(instances);
            }
        }
        let (number, before) = &mut self.sent;
        if *number > 0 && *before == offer {
            return None;
        }
        *number += 1;
        *before = offer;
        Some(message(*number, before))
    }

    /// The addresses that are the node's own by its certificate.
    fn own(&self) -> Vec<IpAddr> {
        let published = self.fleet.borrow();
        let names: BTreeMap<IpAddr, &Arc<str>> = published
            .view
            .iter()
            .flat_map(|fleet| fleet.hosts())
            .collect();
        let is_own = |address: &IpAddr| {
            let name = names.get(address).map(|name| &***name);
            self.speaker.is_at(*address, name)
        };
        self.addresses.iter().copied().filter(is_own).collect()
    }

    fn note(&self, answer: &Taken) {
        if answer.number != self.sent.0 {
            // About an offer before the last: what it says of the last is on its way.
            return;
        }
        for refusal in &answer.refused {
            warn!(service = refusal.id, reason = refusal.reason, addresses = ?self.addresses, "a node does not take a service");
        }
        let refused = |id: &ServiceId| {
            let mut refused = answer.refused.iter();
            let id = id.to_string();
            refused.any(|refusal| refusal.id == id)
        };
        let mut taken: BTreeMap<IpAddr, offer::Taken> = BTreeMap::new();
        let all = self.sent.1.iter().filter(|(id, _)| !refused(id));
        for (id, instances) in all {
            for instance in instances {
                let of_address = taken.entry(instance.address.ip()).or_default();
                of_address.insert((*id, instance.address), instance.weight);
            }
        }
        for address in self.own() {
            let taken = taken.remove(&address).unwrap_or_default();
            self.offers.take(address, taken);
        }
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
