//! What the connection tracker knows of datagrams, which a client sends from one port again and again.

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use ipvs_syncer::dataplane::flow;

use crate::namespace::{inside, run};

const ONE: &str = "10.9.9.2:7";
const OTHER: &str = "10.9.9.3:7";
const VIP: &str = "198.18.0.33:7";

/// Long enough for an answer on one machine.
const PATIENCE: Duration = Duration::from_millis(200);

/// Addresses of a client, a VIP and servers, and a chain for rules.
fn prepare() {
    for address in ["10.9.9.1", "10.9.9.2", "10.9.9.3", "198.18.0.33"] {
        run("ip", &["address", "add", address, "dev", "lo"]);
    }
    nft("add table ip t");
    nft("add chain ip t out { type nat hook output priority -100; }");
    nft("add chain ip t post { type nat hook postrouting priority 100; }");
    // Without a rule that asks for it nothing is tracked.
    nft("add rule ip t post ip saddr 203.0.113.1 masquerade");
}

fn nft(words: &str) {
    run("nft", &words.split(' ').collect::<Vec<_>>());
}

/// From now on new flows to the VIP lead there.
fn lead(server: &str) {
    nft("flush chain ip t out");
    nft(&format!(
        "add rule ip t out ip daddr 198.18.0.33 meta l4proto {{ tcp, udp }} th dport 7 dnat to {server}"
    ));
}

/// A server that answers each datagram with its own address.
fn server(address: &str) {
    let (socket, name) = (UdpSocket::bind(address).unwrap(), address.to_owned());
    std::thread::spawn(move || {
        while let Ok((_, client)) = socket.recv_from(&mut [0; 100]) {
            let _ = socket.send_to(name.as_bytes(), client);
        }
    });
}

fn client() -> UdpSocket {
    let client = UdpSocket::bind("10.9.9.1:0").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

/// Who answers this client at the VIP.
fn asked(client: &UdpSocket) -> Option<String> {
    client.send_to(b"who", VIP).unwrap();
    let mut answer = [0; 100];
    let (length, from) = client.recv_from(&mut answer).ok()?;
    assert_eq!(from.to_string(), VIP);
    Some(String::from_utf8_lossy(&answer[..length]).into_owned())
}

fn at(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

#[test]
#[ignore = "needs root"]
fn a_client_that_keeps_its_port_is_led_to_a_server_that_came_later_and_from_one_that_went() {
    inside(|| async {
        prepare();
        [ONE, OTHER].into_iter().for_each(server);
        let id = format!("udp://{VIP}").parse().unwrap();
        let (early, neighbour) = (client(), client());
        assert_eq!(asked(&early), None);
        lead(ONE);
        assert_eq!(asked(&early), None, "it is tracked as it began");
        flow::forget_unled(vec![id]).await.unwrap();
        assert_eq!(asked(&early).unwrap(), ONE);
        lead(OTHER);
        assert_eq!(asked(&neighbour).unwrap(), OTHER);
        assert_eq!(asked(&early).unwrap(), ONE, "it is tracked as it began");
        lead(ONE);
        flow::forget_of(&id, at(ONE)).await.unwrap();
        flow::forget_unled(vec![id]).await.unwrap();
        assert_eq!(asked(&neighbour).unwrap(), OTHER, "it keeps its flow");
        lead(OTHER);
        flow::forget_of(&id, at(ONE)).await.unwrap();
        assert_eq!(asked(&early).unwrap(), OTHER);
    });
}

#[test]
#[ignore = "needs root"]
fn a_flow_without_an_answer_begins_anew_with_the_rules_of_now_and_an_answered_one_goes_on() {
    inside(|| async {
        prepare();
        server(ONE);
        let (early, answered) = (client(), client());
        assert_eq!(asked(&early), None);
        lead(ONE);
        assert_eq!(asked(&answered).unwrap(), ONE);
        lead(OTHER);
        let vips = [at(VIP).ip()];
        assert!(flow::forget_unanswered(&vips).await[0].is_ok());
        assert_eq!(asked(&answered).unwrap(), ONE, "it keeps its flow");
        server(OTHER);
        assert_eq!(asked(&early).unwrap(), OTHER);
    });
}

#[test]
#[ignore = "needs root"]
fn what_led_to_an_earlier_container_and_what_it_has_sent_is_forgotten() {
    inside(|| async {
        prepare();
        [ONE, OTHER].into_iter().for_each(server);
        lead(ONE);
        let (kept, sender) = (client(), UdpSocket::bind("10.9.9.2:9").unwrap());
        assert_eq!(asked(&kept).unwrap(), ONE);
        sender.send_to(b"stray", "10.9.9.1:99").unwrap();
        let tracked = || run("conntrack", &["-L", "-p", "udp"]);
        let of_sender = "src=10.9.9.2 dst=10.9.9.1 sport=9 ";
        assert!(tracked().contains(of_sender), "{}", tracked());
        lead(OTHER);
        // The address of a host port is like a VIP's to the tracker.
        let ports = vec![(at(VIP), at(OTHER)), (at("10.9.9.1:20"), at("10.9.9.2:9"))];
        flow::forget_strays(ports).await.unwrap();
        assert!(!tracked().contains(of_sender), "{}", tracked());
        assert_eq!(asked(&kept).unwrap(), OTHER);
        flow::forget_strays(Vec::new()).await.unwrap();
    });
}

#[test]
#[ignore = "needs root"]
fn a_connection_is_open_until_both_have_closed_it() {
    inside(|| async {
        prepare();
        lead(ONE);
        let listener = TcpListener::bind(ONE).unwrap();
        let id = VIP.parse().unwrap();
        assert!(!flow::has_open(&id, at(ONE)).await.unwrap());
        let near = TcpStream::connect(VIP).unwrap();
        let (far, _) = listener.accept().unwrap();
        assert!(flow::has_open(&id, at(ONE)).await.unwrap());
        assert!(!flow::has_open(&id, at(OTHER)).await.unwrap());
        drop((near, far));
        assert!(!flow::has_open(&id, at(ONE)).await.unwrap());
    });
}
