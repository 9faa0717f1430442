use super::super::containers::Containers;
use super::*;

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn a_port_is_leased_while_the_process_behind_it_lives() {
    let containers = Containers::default();
    let ports = vec![
        (at("198.18.0.11:20000"), at("172.17.0.2:8001")),
        (at("127.0.0.1:20001"), at("172.17.0.2:8002")),
        (at("[2001:db8::11]:20000"), at("[2001:db8::2]:8001")),
    ];
    let own = i32::try_from(std::process::id()).unwrap();
    containers.note("a", "web", ports, Some(own));
    let unknown = vec![(at("198.18.0.11:20002"), at("172.17.0.3:8001"))];
    containers.note("b", "web", unknown, None);
    let tasks = Arc::clone(&containers.subscribe().borrow());
    let leased = living(&tasks, Process::lives);
    assert_eq!(
        leased,
        [(at("198.18.0.11:20000"), at("172.17.0.2:8001"))].into()
    );
    assert!(living(&tasks, |_| false).is_empty());
}

#[test]
fn a_process_that_another_of_its_id_has_followed_does_not_live() {
    let containers = Containers::default();
    let mut child = std::process::Command::new("sleep")
        .arg("100")
        .spawn()
        .unwrap();
    let ports = vec![(at("198.18.0.11:20000"), at("172.17.0.2:8001"))];
    let pid = i32::try_from(child.id()).unwrap();
    containers.note("a", "web", ports, Some(pid));
    let tasks = Arc::clone(&containers.subscribe().borrow());
    assert_eq!(living(&tasks, Process::lives).len(), 1);
    let mut written = serde_json::to_value(&*tasks).unwrap();
    let started = written.pointer_mut("/a~1web/process/started").unwrap();
    *started = 1.into();
    let followed: Tasks = serde_json::from_value(written).unwrap();
    assert!(living(&followed, Process::lives).is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(living(&tasks, Process::lives).is_empty());
}

#[test]
fn leases_are_for_packets_from_outside_and_from_the_node_and_run_out() {
    let ports = [(at("198.18.0.11:20000"), at("172.17.0.2:8001"))].into();
    let body = body(&ports, "eth0");
    for protocol in ["tcp", "udp"] {
        let map = format!(
            "map {protocol}_ports {{ type ipv4_addr . inet_service : ipv4_addr . inet_service; flags timeout; timeout 30s; elements = {{ 198.18.0.11 . 20000 : 172.17.0.2 . 8001 }}; }}"
        );
        assert!(body.contains(&map), "{body}");
        let choice = format!("dnat to ip daddr . {protocol} dport map @{protocol}_ports\n");
        assert_eq!(body.matches(&choice).count(), 2, "{body}");
        assert!(body.contains(&format!("iifname \"eth0\" {choice}")));
    }
}
