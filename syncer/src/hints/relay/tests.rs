//! What a driver is answered, by one director and another.

use nomad_ipvs_proto::syncer::syncer_client::SyncerClient;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tonic::transport::Endpoint;

use super::*;
use crate::config::HostPort;
use crate::hints::barrier::tests::ID;
use crate::hints::tests::harness;

/// The driver's side of a relay to those directors, over its socket.
async fn driver(
    directors: &[std::net::SocketAddr],
) -> (
    SyncerClient<tonic::transport::Channel>,
    (Parts, tempfile::TempDir, CancellationToken),
) {
    let folder = tempfile::TempDir::new().unwrap();
    let socket = folder.path().join("run/syncer.sock");
    let director = |address: &std::net::SocketAddr| HostPort {
        host: address.ip().to_string(),
        port: address.port(),
    };
    let relay = config::Relay {
        socket: socket.clone(),
        directors: directors.iter().map(director).collect(),
    };
    let (mut parts, stop) = (Parts::default(), CancellationToken::new());
    serve(&relay, None, Containers::default(), &mut parts, &stop).unwrap();
    let channel = Endpoint::from_shared(format!("unix://{}", socket.display()))
        .unwrap()
        .connect()
        .await
        .unwrap();
    (SyncerClient::new(channel), (parts, folder, stop))
}

fn withdrawal(limit: Duration) -> WithdrawRequest {
    WithdrawRequest {
        alloc_id: ID.to_string(),
        task: "www".into(),
        deadline: prost_types::Duration::try_from(limit).ok(),
    }
}

#[tokio::test]
async fn one_director_that_hangs_does_not_hide_what_the_others_answered() {
    let quick = harness::director("127.0.0.1:0", None, Some(0)).await;
    let without = harness::director("127.0.0.1:0", None, None).await;
    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = [
        quick.address,
        without.address,
        hanging.local_addr().unwrap(),
    ];
    let (mut driver, _kept) = driver(&at).await;
    let limit = Duration::from_millis(500);
    let expected =
        [(at[0], Wire::Drained), (at[2], Wire::Unknown)].map(|(at, outcome)| DirectorOutcome {
            director: at.to_string(),
            outcome: outcome.into(),
        });
    let mut took = Vec::new();
    // A machine that gives no processor once, says nothing about the limit.
    for _ in 0..3 {
        let started = Instant::now();
        let answer = driver.withdraw(withdrawal(limit)).await.unwrap();
        took.push(started.elapsed());
        assert_eq!(answer.into_inner().directors, expected);
    }
    // Drivers give up half a second after the limit.
    let soon = limit + Duration::from_millis(450);
    assert!(took.iter().any(|took| *took < soon), "{took:?}");
}

#[tokio::test]
async fn a_driver_does_not_wait_for_what_becomes_of_an_exit() {
    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (mut driver, (mut parts, _folder, stop)) = driver(&[hanging.local_addr().unwrap()]).await;
    let exit = ExitedRequest {
        alloc_id: ID.to_string(),
        task: "www".into(),
    };
    let soon = Duration::from_millis(300);
    tokio::time::timeout(soon, driver.exited(exit))
        .await
        .unwrap()
        .unwrap();
    stop.cancel();
    tokio::time::timeout(soon, parts.finish("the stream to a director"))
        .await
        .unwrap();
}
