use std::net::SocketAddr;
use std::time::Duration;

use ipvs::Weight;
use nomad_ipvs_proto::real_server::real_servers_client::RealServersClient;
use nomad_ipvs_proto::real_server::{Answer, Busy, Offer, Refusal};
use syncer_core::pass::Key;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::certificates::Authority;
use super::harness::{Listening, director, until};
use crate::channel::connect;
use crate::config::{HostPort, Tls};
use crate::offer::{Instance, NodeOffer, NodeOffers};

const SOON: Duration = Duration::from_secs(5);

struct Stream {
    answers: mpsc::Sender<Answer>,
    offers: Streaming<Offer>,
}

async fn node(director: &Listening, addresses: &[&str]) -> Stream {
    node_with(director, None, addresses).await
}

async fn node_with(director: &Listening, tls: Option<&Tls>, addresses: &[&str]) -> Stream {
    let place = HostPort {
        host: director.address.ip().to_string(),
        port: director.address.port(),
    };
    let mut client = RealServersClient::new(connect(&place, tls).await.unwrap());
    let (answers, outgoing) = mpsc::channel(4);
    let stream = Stream {
        answers,
        offers: client
            .take(ReceiverStream::new(outgoing))
            .await
            .unwrap()
            .into_inner(),
    };
    stream.say(0, addresses, &[]).await;
    stream
}

impl Stream {
    async fn say(&self, number: u64, addresses: &[&str], refused: &[&str]) {
        let refusal = |id: &&str| Refusal {
            id: (*id).to_owned(),
            reason: "no".to_owned(),
        };
        let taken = Answer {
            number,
            addresses: addresses
                .iter()
                .map(|address| (*address).to_owned())
                .collect(),
            refusals: refused.iter().map(refusal).collect(),
            busy: Vec::new(),
        };
        self.answers.send(taken).await.unwrap();
    }

    async fn offer(&mut self) -> Offer {
        let offer = timeout(SOON, self.offers.message()).await;
        offer.unwrap().unwrap().unwrap()
    }
}

fn key(port: u16) -> Key {
    let address = SocketAddr::from(([198, 18, 0, 11], port));
    ("198.18.0.31:80".parse().unwrap(), address)
}

fn offered(weights: &[(u16, u32)]) -> NodeOffers {
    let instance = |(port, weight): &(u16, u32)| Instance {
        address: key(*port).1,
        weight: Weight::saturating(*weight),
    };
    let own: NodeOffer = [(key(0).0, weights.iter().map(instance).collect())].into();
    let neighbour = own.clone();
    let at = |address: &str| address.parse().unwrap();
    [(at("198.18.0.11"), own), (at("198.18.0.12"), neighbour)].into()
}

#[tokio::test]
async fn a_node_is_offered_what_is_its_own_and_an_instance_is_taken_once_the_node_says_so() {
    let director = director("127.0.0.1:0", None, None).await;
    let offers = director.around.barrier.offers.clone();
    let mut node = node(&director, &["198.18.0.11"]).await;
    let early = timeout(Duration::from_millis(100), node.offers.message()).await;
    assert!(early.is_err(), "nothing is offered before all is known");
    offers.offer(offered(&[(20_000, 1)]));
    let offer = node.offer().await;
    assert_eq!((offer.number, offer.services.len()), (1, 1));
    assert_eq!(offer.services[0].instances.len(), 1);
    let taken = timeout(Duration::from_millis(100), offers.trial(key(20_000))).await;
    assert!(taken.is_err(), "not before the node has said so");
    node.say(1, &[], &[]).await;
    drop(timeout(SOON, offers.trial(key(20_000))).await.unwrap());
    assert!(offers.is_fed(&key(20_000)));
    offers.offer(offered(&[(20_000, 0), (20_001, 1)]));
    let number = node.offer().await.number;
    assert!(offers.is_fed(&key(20_000)), "its node still feeds it");
    let (id, address) = (key(0).0.to_string(), key(20_000).1.to_string());
    let busy = Answer {
        number,
        busy: vec![Busy { id, address }],
        ..Answer::default()
    };
    node.answers.send(busy).await.unwrap();
    drop(timeout(SOON, offers.trial(key(20_001))).await.unwrap());
    assert!(offers.is_fed(&key(20_000)), "a connection is open there");
    node.say(number, &[], &[]).await;
    until("it is idle", || !offers.is_fed(&key(20_000))).await;
    director.end().await;
}

#[tokio::test]
async fn a_node_that_says_it_is_where_another_is_gets_no_offer_and_is_not_believed() {
    let ca = Authority::new();
    let director = director("127.0.0.1:0", Some(&ca.issue("director")), None).await;
    let offers = director.around.barrier.offers.clone();
    offers.offer(offered(&[(20_000, 1)]));
    let place = ["198.18.0.11"];
    let thief = ca.issue_for("node2", "node2");
    let mut thief = node_with(&director, Some(&thief), &place).await;
    let offer = timeout(Duration::from_millis(200), thief.offers.message()).await;
    assert!(offer.is_err(), "not even an empty one: {offer:?}");
    thief.say(1, &[], &[]).await;
    let taken = timeout(Duration::from_millis(200), offers.trial(key(20_000))).await;
    assert!(taken.is_err());
    // By what Nomad calls the node that is there, and by the address itself.
    for name in ["node1", "198.18.0.11"] {
        let own = ca.issue_for(name, name);
        let mut own = node_with(&director, Some(&own), &place).await;
        assert_eq!(own.offer().await.services.len(), 1, "{name}");
    }
    // Whoever claims both gets what is his.
    let both = ca.issue_for("both", "node1");
    let mut both = node_with(&director, Some(&both), &["198.18.0.11", "198.18.0.12"]).await;
    assert_eq!(both.offer().await.services[0].instances.len(), 1);
    director.end().await;
}

#[tokio::test]
async fn what_a_node_refuses_is_not_taken_and_answers_to_other_offers_say_nothing() {
    let director = director("127.0.0.1:0", None, None).await;
    let offers = director.around.barrier.offers.clone();
    let mut node = node(&director, &["198.18.0.11"]).await;
    offers.offer(offered(&[(20_000, 1)]));
    let number = node.offer().await.number;
    let mut refused = offers.refusals();
    node.say(number, &[], &["tcp://198.18.0.31:80"]).await;
    node.say(number + 7, &[], &[]).await;
    node.say(number - 1, &[], &[]).await;
    timeout(SOON, refused.wait_for(|all| all.contains(&key(20_000))))
        .await
        .unwrap()
        .unwrap();
    let taken = timeout(Duration::from_millis(200), offers.trial(key(20_000))).await;
    assert!(taken.is_err());
    // Whoever begins anew may have another config.
    let _again = self::node(&director, &["198.18.0.11"]).await;
    timeout(SOON, refused.wait_for(|all| all.is_empty()))
        .await
        .unwrap()
        .unwrap();
    director.end().await;
}

#[tokio::test]
async fn a_node_that_does_not_say_where_it_is_gets_an_error() {
    let director = director("127.0.0.1:0", None, None).await;
    for addresses in [&[][..], &["host"]] {
        let mut node = node(&director, addresses).await;
        let answer = timeout(SOON, node.offers.message()).await.unwrap();
        assert!(answer.unwrap_err().message().contains("addresses"));
    }
    director.end().await;
}
