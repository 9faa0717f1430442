//! The stream of one director's offers: kept open, each offer handed to the loop with the way back for its answer.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipvs::{ServiceId, Weight};
use nomad_ipvs_proto::real_server::real_servers_client::RealServersClient;
use nomad_ipvs_proto::real_server::{Offer as Message, Taken};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::channel::{OPEN_TIMEOUT, OpenError, connect};
use crate::config::{HostPort, Tls};
use crate::error::chain;
use crate::offer::{Instance, NodeOffer};

/// Answers on their way: the first message, and one for each offer that was not yet answered.
const ANSWERS: usize = 8;

/// After a stream that lived so long, the next is opened without much waiting.
const STEADY_STREAM: Duration = Duration::from_secs(1);

/// The longest message: thousands of services with some instances each.
const MESSAGE_LIMIT: usize = 16 << 20;

/// An offer that came in.
#[derive(Debug)]
pub(super) struct Incoming {
    /// Which of the configured directors.
    pub(super) director: usize,
    pub(super) number: u64,
    pub(super) offer: NodeOffer,
    pub(super) answer: mpsc::Sender<Taken>,
}

/// Keeps the stream open for as long as it is run.
pub(super) async fn link(
    director: usize,
    place: HostPort,
    tls: Option<Tls>,
    addresses: Vec<IpAddr>,
    inbox: mpsc::Sender<Incoming>,
) {
    let mut backoff = Backoff::default();
    let mut trouble: Option<String> = None;
    loop {
        let opened = timeout(OPEN_TIMEOUT, open(&place, tls.as_ref(), &addresses)).await;
        match opened.unwrap_or(Err(OpenError::Slow)) {
            Ok((offers, answers)) => {
                if trouble.take().is_some() {
                    info!(director = %place, "the director offers VIPs again");
                }
                let since = Instant::now();
                if converse(director, offers, answers, &inbox).await.is_err() {
                    return;
                }
                if since.elapsed() >= STEADY_STREAM {
                    backoff.reset();
                }
            }
            Err(error) => {
                let gist = error.gist();
                if trouble.as_ref() != Some(&gist) {
                    warn!(director = %place, error = chain(&error), "a director is not heard; packets to VIPs go where they went");
                    trouble = Some(gist);
                }
            }
        }
        sleep(backoff.fail()).await;
    }
}

async fn open(
    place: &HostPort,
    tls: Option<&Tls>,
    addresses: &[IpAddr],
) -> Result<(Streaming<Message>, mpsc::Sender<Taken>), OpenError> {
    let client = RealServersClient::new(connect(place, tls).await?);
    let mut client = client.max_decoding_message_size(MESSAGE_LIMIT);
    let (answers, outgoing) = mpsc::channel(ANSWERS);
    // There is room: it is the first.
    let _ = answers.try_send(Taken {
        number: 0,
        addresses: addresses.iter().map(ToString::to_string).collect(),
        refused: Vec::new(),
    });
    let offers = client.take(ReceiverStream::new(outgoing)).await;
    let offers = offers.map_err(|status| OpenError::Refused(Box::new(status)))?;
    Ok((offers.into_inner(), answers))
}

/// Until the stream ends; an error: nobody is left who takes offers.
async fn converse(
    director: usize,
    mut offers: Streaming<Message>,
    answers: mpsc::Sender<Taken>,
    inbox: &mpsc::Sender<Incoming>,
) -> Result<(), ()> {
    while let Ok(Some(message)) = offers.message().await {
        let number = message.number;
        match read(message) {
            Ok(offer) => {
                let answer = answers.clone();
                let incoming = Incoming {
                    director,
                    number,
                    offer,
                    answer,
                };
                inbox.send(incoming).await.map_err(drop)?;
            }
            Err(what) => {
                warn!(
                    what,
                    "a director's offer can't be read; what it offered before stays"
                );
            }
        }
    }
    Ok(())
}

/// All of it or nothing: an offer that lacks a part would have that part dropped.
fn read(message: Message) -> Result<NodeOffer, String> {
    let mut offer = NodeOffer::new();
    for service in message.services {
        let id: ServiceId = service
            .id
            .parse()
            .map_err(|_| format!("virtual service {:?}", service.id))?;
        let instances = service.instances.into_iter().map(|instance| {
            let address: Result<SocketAddr, _> = instance.address.parse();
            Ok(Instance {
                address: address.map_err(|_| format!("instance {:?}", instance.address))?,
                weight: Weight::saturating(instance.weight),
            })
        });
        offer.insert(id, instances.collect::<Result<_, String>>()?);
    }
    Ok(offer)
}

#[cfg(test)]
mod tests {
    use nomad_ipvs_proto::real_server::{Instance as InstanceMessage, Service};

    use super::*;

    fn message(id: &str, address: &str) -> Message {
        Message {
            number: 1,
            services: vec![Service {
                id: id.to_owned(),
                instances: vec![InstanceMessage {
                    address: address.to_owned(),
                    weight: u32::MAX,
                }],
            }],
        }
    }

    #[test]
    fn an_offer_is_read_as_a_whole_or_not_at_all() {
        let offer = read(message("tcp://198.18.0.31:80", "198.18.0.11:20000")).unwrap();
        let instances = &offer[&"198.18.0.31:80".parse().unwrap()];
        assert_eq!(instances[0].weight, Weight::MAX);
        assert!(read(message("what", "198.18.0.11:20000")).is_err());
        assert!(read(message("tcp://198.18.0.31:80", "host:1")).is_err());
    }
}
