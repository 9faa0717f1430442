//! Host ports that lead to containers without an engine.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipvs_syncer::parts::Parts;
use ipvs_syncer::real_server::{Containers, ports};
use ipvs_syncer::source::Published;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::namespace::{inside, run};

const TABLE: [&str; 3] = ["table", "ip", "nomad_ipvs_ports"];

/// The node's port, where nobody listens.
const HOST: &str = "198.18.0.11:20000";

/// Where a server listens that is to be reached there.
const CONTAINER: &str = "198.18.9.2:8001";

async fn is_answered() -> bool {
    let host: SocketAddr = HOST.parse().unwrap();
    let connected = timeout(Duration::from_secs(1), TcpStream::connect(host)).await;
    matches!(connected, Ok(Ok(_)))
}

async fn becomes(answered: bool) {
    let become_so = async {
        while is_answered().await != answered {
            sleep(Duration::from_millis(100)).await;
        }
    };
    // Past the interval of renewals.
    let becomes = timeout(Duration::from_secs(15), become_so).await;
    assert!(becomes.is_ok(), "answered: {}", !answered);
}

#[test]
#[ignore = "needs root and nf_tables"]
fn a_host_port_leads_to_its_container_until_the_task_ends_whoever_removes_the_rules() {
    inside(|| async {
        for address in [HOST, CONTAINER] {
            let (ip, _) = address.split_once(':').unwrap();
            run("ip", &["address", "add", &format!("{ip}/32"), "dev", "lo"]);
        }
        let _server = TcpListener::bind(CONTAINER).await.unwrap();
        let containers = Containers::default();
        let (nomad, fleet) = watch::channel(Published::default());
        let (mut parts, stop) = (Parts::default(), CancellationToken::new());
        let started = ports::start("eth0", &containers, fleet, &mut parts, &stop);
        let leases = started.await.unwrap();
        assert!(!is_answered().await);
        let pair = (HOST.parse().unwrap(), CONTAINER.parse().unwrap());
        containers.note("alloc", "web", vec![pair]);
        sleep(Duration::from_millis(300)).await;
        assert!(!is_answered().await, "Nomad has not been read");
        nomad.send_modify(|published| published.view = Some(Arc::default()));
        becomes(true).await;
        assert_eq!(leases.borrow().ports, [pair].into());
        run("nft", &[&["delete"], &TABLE[..]].concat());
        assert!(!is_answered().await);
        becomes(true).await;
        let listed = run("nft", &[&["list"], &TABLE[..]].concat());
        assert!(listed.contains("expires 2"), "{listed}");
        containers.forget("alloc", "web");
        becomes(false).await;
        assert!(leases.borrow().ports.is_empty());
        stop.cancel();
        drop(parts);
        ports::clear().await;
        assert!(!run("nft", &["list", "tables"]).contains(TABLE[2]));
    });
}
