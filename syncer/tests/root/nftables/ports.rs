//! Host ports that lead to containers without an engine.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use ipvs_syncer::parts::Parts;
use ipvs_syncer::real_server::{Containers, ports};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch::Receiver;
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

/// Waits until these ports are published as led, which they are a moment after the kernel has them.
async fn are_published(leases: &mut Receiver<ports::Leases>, ports: &[(SocketAddr, SocketAddr)]) {
    let ports = ports.iter().copied().collect();
    let published = leases.wait_for(|leases| leases.ports == ports);
    let published = timeout(Duration::from_secs(5), published).await;
    assert!(published.is_ok_and(|leases| leases.is_ok()), "{ports:?}");
}

#[test]
#[ignore = "needs root and nf_tables"]
fn a_host_port_leads_to_its_container_until_the_task_ends_heard_or_not_and_whoever_removes_the_rules()
 {
    inside(|| async {
        for address in [HOST, CONTAINER] {
            let (ip, _) = address.split_once(':').unwrap();
            run("ip", &["address", "add", &format!("{ip}/32"), "dev", "lo"]);
        }
        let _server = TcpListener::bind(CONTAINER).await.unwrap();
        let containers = Containers::default();
        let (mut parts, stop) = (Parts::default(), CancellationToken::new());
        let started = ports::start("eth0", &containers, &mut parts, &stop);
        let mut leases = started.await.unwrap();
        assert!(!is_answered().await);
        let pair = (HOST.parse().unwrap(), CONTAINER.parse().unwrap());
        let mut task = Command::new("sleep").arg("100").spawn().unwrap();
        let pid = i32::try_from(task.id()).unwrap();
        containers.note("alloc", "web", vec![pair], Some(pid));
        becomes(true).await;
        are_published(&mut leases, &[pair]).await;
        run("nft", &[&["delete"], &TABLE[..]].concat());
        assert!(!is_answered().await);
        becomes(true).await;
        let listed = run("nft", &[&["list"], &TABLE[..]].concat());
        assert!(listed.contains("expires 2"), "{listed}");
        task.kill().unwrap();
        task.wait().unwrap();
        becomes(false).await;
        are_published(&mut leases, &[]).await;
        let own = i32::try_from(std::process::id()).unwrap();
        containers.note("alloc", "web", vec![pair], Some(own));
        becomes(true).await;
        containers.forget("alloc", "web");
        becomes(false).await;
        stop.cancel();
        drop(parts);
        ports::clear().await;
        assert!(!run("nft", &["list", "tables"]).contains(TABLE[2]));
    });
}
