//! SNAT beside another forwarding method: a packet that keeps the VIP keeps its source.

use std::net::SocketAddr;

use ipvs_syncer::dataplane::snat::{Snat, nftables::Nftables};
use tokio::net::{TcpListener, TcpSocket};

use crate::namespace::{inside, run};
use crate::trip::set;

/// To the first, packets stay as they are; to the second, somebody translates them as IPVS does by masquerade.
const DIRECT: &str = "198.18.0.29:80";
const TRANSLATED: &str = "198.18.0.30:80";
const REAL: &str = "198.18.9.2:8001";
const CLIENT: &str = "198.18.9.100:40001";

/// Whom the server at `server` sees when the client connects to `vip`.
async fn seen(server: &TcpListener, vip: &str) -> SocketAddr {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(CLIENT.parse().unwrap()).unwrap();
    let connected = socket.connect(vip.parse().unwrap());
    let (stream, accepted) = tokio::join!(connected, server.accept());
    // Reset, so that the port is free again.
    stream.unwrap().set_zero_linger().unwrap();
    accepted.unwrap().1
}

#[test]
#[ignore = "needs root and nf_tables"]
fn only_a_packet_whose_destination_was_translated_has_its_source_translated() {
    inside(|| async {
        for place in [DIRECT, TRANSLATED, REAL, CLIENT] {
            let (ip, _) = place.split_once(':').unwrap();
            run("ip", &["address", "add", &format!("{ip}/32"), "dev", "lo"]);
        }
        let script = format!(
            "add table ip peer; add chain ip peer out {{ type nat hook output priority -100 ; }}; \
             add rule ip peer out ip daddr {} tcp dport 80 dnat to {REAL}",
            TRANSLATED.split(':').next().unwrap()
        );
        run("nft", &[&script]);
        Nftables.set(&set(&[DIRECT, TRANSLATED])).await.unwrap();
        let direct = TcpListener::bind(DIRECT).await.unwrap();
        let real = TcpListener::bind(REAL).await.unwrap();
        let client: SocketAddr = CLIENT.parse().unwrap();
        assert_eq!(seen(&direct, DIRECT).await, client);
        assert_ne!(seen(&real, TRANSLATED).await, client);
    });
}
