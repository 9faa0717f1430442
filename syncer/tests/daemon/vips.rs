//! Whose a VIP is, and which instances stand behind it, through the whole daemon.

use std::net::IpAddr;

use ipvs::Connections;
use serde_json::{Value, json};
use syncer_core::desired::Holder;

use super::harness::{Daemon, Lab, address, stranger};

const WEB: &str = "tcp://198.18.0.29:80 -> 198.18.0.11:20000 1";

fn asking(n: usize, tags: &[&str]) -> Value {
    let mut instance = stranger(n);
    instance["Service"]["Tags"] = json!(tags);
    instance
}

fn register(lab: &Lab, name: &str, instances: Vec<Value>) {
    lab.consul
        .change(|world| drop(world.services.insert(name.into(), instances)));
}

async fn reasons(daemon: &Daemon) -> Vec<String> {
    let rejected = daemon.status().await.rejected.into_iter();
    rejected
        .map(|one| format!("{}: {}", one.service, one.reason))
        .collect()
}

/// Waits until something is rejected for that reason.
async fn rejected(daemon: &Daemon, reason: &str) {
    for _ in 0..800 {
        let reasons = reasons(daemon).await;
        if reasons.iter().any(|status| status.contains(reason)) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("no {reason:?} in {:?}", reasons(daemon).await);
}

#[tokio::test]
async fn a_vip_at_a_nodes_address_is_refused_and_real_servers_there_serve_on() {
    let lab = Lab::with(&[0]).await;
    let daemon = lab.daemon();
    lab.expect(&["198.18.0.11:20000 1"]).await;
    register(
        &lab,
        "thief",
        vec![asking(1, &["ipvs.vip=198.18.0.11:8500"])],
    );
    rejected(
        &daemon,
        "thief: 198.18.0.11 is the address of Consul's node node1",
    )
    .await;
    assert_eq!(lab.director.rows(), [WEB]);
    let present = lab.director.inside().addresses.present.clone();
    assert_eq!(present, ["198.18.0.29".parse::<IpAddr>().unwrap()].into());
}

#[tokio::test]
async fn the_directors_own_address_is_no_vip() {
    let lab = Lab::with(&[0]).await;
    let interface = "eth0".into();
    let own = ("198.18.0.2".parse().unwrap(), Holder::Machine { interface });
    lab.director.inside().addresses.occupied.extend([own]);
    register(&lab, "ssh", vec![asking(1, &["ipvs.vip=198.18.0.2:22"])]);
    let daemon = lab.daemon();
    rejected(
        &daemon,
        "ssh: 198.18.0.2 is this machine's own address on eth0",
    )
    .await;
    lab.expect(&["198.18.0.11:20000 1"]).await;
}

#[tokio::test]
async fn a_vip_that_a_neighbour_answers_for_is_refused_until_it_is_free() {
    let lab = Lab::with(&[0]).await;
    let vip: IpAddr = "198.18.0.30".parse().unwrap();
    let link = "02:00:00:00:00:07".into();
    lab.director.inside().neighbours.insert(vip, link);
    register(&lab, "api", vec![asking(1, &["ipvs.vip=198.18.0.30:80"])]);
    let daemon = lab.daemon();
    rejected(
        &daemon,
        "api: 198.18.0.30 is another host's: 02:00:00:00:00:07 answers",
    )
    .await;
    lab.expect(&["198.18.0.11:20000 1"]).await;
    lab.director.inside().neighbours.clear();
    let both = [WEB, "tcp://198.18.0.30:80 -> 198.18.0.11:20001 1"];
    lab.eventually(|| lab.director.rows(), &both.map(String::from).to_vec())
        .await;
    assert!(lab.director.inside().addresses.present.contains(&vip));
    assert!(reasons(&daemon).await.is_empty());
}

#[tokio::test]
async fn each_instance_serves_its_own_vip_and_who_asks_for_none_is_named() {
    let lab = Lab::with(&[0]).await;
    register(
        &lab,
        "api",
        vec![
            asking(1, &["ipvs.vip=198.18.0.30:80"]),
            asking(2, &["ipvs.vip=198.18.0.31:80"]),
            asking(3, &["canary"]),
        ],
    );
    let daemon = lab.daemon();
    let all = [
        WEB,
        "tcp://198.18.0.30:80 -> 198.18.0.11:20001 1",
        "tcp://198.18.0.31:80 -> 198.18.0.11:20002 1",
    ];
    lab.eventually(|| lab.director.rows(), &all.map(String::from).to_vec())
        .await;
    rejected(&daemon, "api: instance 198.18.0.11:20003: left out").await;
}

#[tokio::test]
async fn a_tag_with_a_slip_of_the_pen_is_named_with_what_was_meant() {
    let lab = Lab::with(&[0]).await;
    let daemon = lab.daemon();
    register(&lab, "loud", vec![asking(1, &["IPVS.VIP=198.18.0.30:80"])]);
    register(
        &lab,
        "swapped",
        vec![asking(2, &["ipvs.vpi=198.18.0.31:80"])],
    );
    rejected(
        &daemon,
        "loud: tag IPVS.VIP=198.18.0.30:80: did you mean ipvs.vip=198.18.0.30:80",
    )
    .await;
    rejected(&daemon, "did you mean ipvs.vip?").await;
}

#[tokio::test]
async fn the_last_instance_of_a_tagged_service_drains_as_long_as_its_tag_said() {
    let lab = Lab::with(&[0]).await;
    let tags = ["ipvs.vip=198.18.0.30:80", "ipvs.drain_deadline=600ms"];
    register(&lab, "api", vec![asking(1, &tags)]);
    let _daemon = lab.daemon();
    let real = |weight: u8| format!("tcp://198.18.0.30:80 -> 198.18.0.11:20001 {weight}");
    let both = vec![WEB.to_owned(), real(1)];
    lab.eventually(|| lab.director.rows(), &both).await;
    let busy = Connections {
        active: 1,
        ..Connections::default()
    };
    let key = ("198.18.0.30:80".parse().unwrap(), address(1));
    lab.director.inside().kernel.connections.insert(key, busy);
    register(&lab, "api", Vec::new());
    let draining = vec![WEB.to_owned(), real(0)];
    lab.eventually(|| lab.director.rows(), &draining).await;
    // A minute would be far too long for this.
    lab.eventually(|| lab.director.rows(), &vec![WEB.to_owned()])
        .await;
}
