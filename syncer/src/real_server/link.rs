//! The stream of one director's offers: kept open, each offer handed to the loop with the way back for its answer.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipvs::{ServiceId, Weight};
use nomad_ipvs_proto::real_server::real_servers_client::RealServersClient;
use nomad_ipvs_proto::real_server::{Answer, Offer as Message};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
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

/// What a link hears, with the director's place among the configured ones.
#[derive(Debug)]
pub(super) enum Incoming {
    Offer {
        director: usize,
        number: u64,
        offer: NodeOffer,
        answer: mpsc::Sender<Answer>,
    },
    /// Its stream is gone.
    Gone { director: usize },
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
                let conversed = converse(director, offers, answers, &inbox).await;
                let gone = Incoming::Gone { director };
                if inbox.send(gone).await.is_err() {
                    return;
                }
                if let Err(status) = conversed
                    && trouble.as_deref() != Some(status.message())
                {
                    warn!(director = %place, error = chain(&status), "the stream of a director's offers ended");
                    trouble = Some(status.message().to_owned());
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
) -> Result<(Streaming<Message>, mpsc::Sender<Answer>), OpenError> {
    let client = RealServersClient::new(connect(place, tls).await?);
    let mut client = client.max_decoding_message_size(MESSAGE_LIMIT);
    let (answers, outgoing) = mpsc::channel(ANSWERS);
    // There is room: it is the first.
    let _ = answers.try_send(Answer {
        number: 0,
        addresses: addresses.iter().map(ToString::to_string).collect(),
        refusals: Vec::new(),
        busy: Vec::new(),
    });
    let offers = client.take(ReceiverStream::new(outgoing)).await;
    let offers = offers.map_err(|status| OpenError::Refused(Box::new(status)))?;
    Ok((offers.into_inner(), answers))
}

/// Until the stream ends; the error says why, where the director does.
async fn converse(
    director: usize,
    mut offers: Streaming<Message>,
    answers: mpsc::Sender<Answer>,
    inbox: &mpsc::Sender<Incoming>,
) -> Result<(), Status> {
    while let Some(message) = offers.message().await? {
        let number = message.number;
        match read(message) {
            Ok(offer) => {
                let answer = answers.clone();
                let incoming = Incoming::Offer {
                    director,
                    number,
                    offer,
                    answer,
                };
                if inbox.send(incoming).await.is_err() {
                    return Ok(());
                }
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
