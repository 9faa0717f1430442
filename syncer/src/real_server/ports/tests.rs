use super::super::containers::Places;
use super::*;
use syncer_core::model::AllocId;
use syncer_core::model::fleet::Allocation;

const ALLOC: &str = "0f6b3d3e-6f0e-7d3c-1f2a-6f2a0c7f0b11";

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn fleet(client: ClientStatus) -> Fleet {
    let id: AllocId = ALLOC.parse().unwrap();
    Fleet::new([Allocation {
        id,
        namespace: "default".into(),
        job: "web".into(),
        group: "web".into(),
        node_id: "1".into(),
        node_name: "node1".into(),
        client,
        wanted: true,
        tasks: Vec::new(),
        ports: Vec::new(),
        created: 1,
    }])
}

fn task(source: Source) -> Tasks {
    let key = format!("{ALLOC}/web");
    let ports = vec![
        (at("198.18.0.11:20000"), at("172.17.0.2:8001")),
        (at("[2001:db8::11]:20000"), at("[2001:db8::2]:8001")),
    ];
    [(key, Places { ports, source })].into()
}

#[test]
fn a_port_is_leased_while_its_task_lives_as_far_as_anybody_can_know() {
    use ClientStatus::{Complete, Failed, Lost, Pending, Running, Unknown};
    let rows = [
        // Nomad lists an allocation after its driver has started it.
        (Source::Driver, None, true),
        (Source::File, None, false),
        (Source::Driver, Some(Running), true),
        (Source::File, Some(Running), true),
        (Source::File, Some(Pending), true),
        (Source::File, Some(Unknown), true),
        (Source::Driver, Some(Complete), false),
        (Source::Driver, Some(Failed), false),
        (Source::File, Some(Lost), false),
    ];
    for (source, client, expected) in rows {
        let fleet = client.map(fleet).unwrap_or_default();
        let ports = living(&task(source), &fleet);
        let leased: Vec<_> = ports.into_iter().collect();
        let only = [(at("198.18.0.11:20000"), at("172.17.0.2:8001"))];
        let wanted = if expected { &only[..] } else { &[] };
        assert_eq!(leased, wanted, "{source:?}, {client:?}");
    }
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
