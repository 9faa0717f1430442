//! Sides that do not know each other.

use std::net::SocketAddr;
use std::time::Duration;

use nomad_ipvs_proto::hints::hints_client::HintsClient;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

use super::certificates::Authority;
use super::harness::{Log, director, node, until};
use crate::config::Tls;
use crate::hints::barrier::tests::ID;
use crate::hints::link::NoAnswer;
use crate::source::driver::Hint;

/// The one line that a node says of a director that it tries again and again.
async fn complaint(director: SocketAddr, tls: Option<&Tls>) -> String {
    let (log, _guard) = Log::start();
    let node = node(director, tls);
    let limit = Duration::from_millis(1500);
    let outcome = node
        .tell(&ID.to_string(), "www", Hint::Withdrawn, limit)
        .await;
    assert_eq!(outcome, Err(NoAnswer::Late));
    until("a word on it", || {
        !log.with("does not take hints").is_empty()
    })
    .await;
    let text = log.with("does not take hints");
    assert_eq!(text.len(), 1, "{text:#?}");
    text[0].clone()
}

#[tokio::test]
async fn a_node_whose_certificate_is_of_another_ca_is_refused_and_says_so_once() {
    let (ca, other) = (Authority::new(), Authority::new());
    let director = director("127.0.0.1:0", Some(&ca.issue("director")), Some(0)).await;
    let theirs = Tls {
        ca_file: ca.ca_file(),
        ..other.issue("node")
    };
    let text = complaint(director.address, Some(&theirs)).await;
    assert!(
        text.contains("both sides need certificates of one CA"),
        "{text}"
    );
}

#[tokio::test]
async fn a_director_of_another_ca_or_for_another_name_is_not_told_and_the_node_says_so_once() {
    let (ca, other) = (Authority::new(), Authority::new());
    let foreign = director("127.0.0.1:0", Some(&other.issue("director")), Some(0)).await;
    let text = complaint(foreign.address, Some(&ca.issue("node"))).await;
    assert!(text.contains("invalid peer certificate"), "{text}");
    let tls = ca.issue_for("director", "lb1.example.org");
    let named = director("127.0.0.1:0", Some(&tls), Some(0)).await;
    let text = complaint(named.address, Some(&ca.issue("node"))).await;
    assert!(text.contains("not valid for name"), "{text}");
    let mut by_name = ca.issue("node2");
    by_name.server_name = Some("lb1.example.org".to_owned());
    let node = node(named.address, Some(&by_name));
    let hint = node.tell(&ID.to_string(), "www", Hint::Exited, Duration::ZERO);
    assert!(hint.await.is_ok());
}

#[tokio::test]
async fn who_has_no_certificate_is_refused() {
    let ca = Authority::new();
    let director = director("127.0.0.1:0", Some(&ca.issue("director")), Some(0)).await;
    let text = complaint(director.address, None).await;
    assert!(text.contains("or neither any"), "{text}");
    // And who speaks TLS without showing one.
    let pem = std::fs::read(ca.ca_file()).unwrap();
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
    let endpoint = Endpoint::from_shared(format!("https://{}", director.address)).unwrap();
    let complaint = async {
        let channel = endpoint
            .tls_config(tls)
            .unwrap()
            .connect()
            .await
            .map_err(drop)?;
        let hints = tokio_stream::pending();
        HintsClient::new(channel).tell(hints).await.map_err(drop)
    };
    assert!(complaint.await.is_err());
}

#[tokio::test]
async fn a_certificate_that_is_replaced_is_taken_at_the_next_connect() {
    let (ca, other) = (Authority::new(), Authority::new());
    let director = director("127.0.0.1:0", Some(&ca.issue("director")), Some(0)).await;
    let wrong = other.issue("node");
    let good = ca.issue("node");
    let tls = Tls {
        ca_file: ca.ca_file(),
        ..wrong
    };
    let (log, _guard) = Log::start();
    let node = node(director.address, Some(&tls));
    until("a refusal", || !log.with("does not take hints").is_empty()).await;
    std::fs::copy(&good.cert_file, &tls.cert_file).unwrap();
    std::fs::copy(&good.key_file, &tls.key_file).unwrap();
    let hint = node.tell(&ID.to_string(), "www", Hint::Exited, Duration::ZERO);
    assert!(hint.await.is_ok());
    assert_eq!(log.with("takes hints again").len(), 1);
}
