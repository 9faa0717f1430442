//! The block of a node that takes packets to VIPs.

use super::{parse, problems};

const NODE: &str = r#"
consul { address = "http://198.18.0.11:8500" }
real_server {
  interface = "eth0"
  own = ["198.18.0.32/27"]
}
hints {
  socket = "/run/s.sock"
  directors = ["198.18.0.28:9181"]
  insecure = true
}
"#;

#[test]
fn a_node_that_takes_packets_to_vips_says_where_and_which_and_whom_it_hears() {
    let role = parse(NODE).unwrap().real_server.unwrap();
    assert_eq!(role.interface, "eth0");
    assert_eq!(role.own, ["198.18.0.32/27".parse().unwrap()]);
    assert!(!role.host_ports);
    let cases = [
        (
            "  interface = \"eth0\"\n",
            "",
            "3:1: block real_server needs interface",
        ),
        (
            "[\"198.18.0.32/27\"]",
            "[\"2001:db8::/64\"]",
            "3:1: own of block real_server needs an IPv4 range",
        ),
        (
            "[\"198.18.0.32/27\"]",
            "[]",
            "3:1: own of block real_server needs an IPv4 range",
        ),
        (
            "hints {",
            "stints {",
            "3:1: block real_server needs a block hints with directors",
        ),
        (
            "hints {",
            "director {\n  interface = \"eth0\"\n  own = []\n}\nhints {",
            "3:1: block real_server and block director exclude each other",
        ),
        (
            "real_server {\n",
            "real_server {\n  host_ports = \"all\"\n",
            "4:",
        ),
    ];
    for (from, to, expected) in cases {
        let found = problems(&NODE.replacen(from, to, 1));
        assert!(
            found.iter().any(|problem| problem.starts_with(expected)),
            "{expected}: {found:?}"
        );
    }
}

#[test]
fn host_ports_lead_to_containers_where_it_is_asked_for() {
    let asked = NODE.replacen("real_server {\n", "real_server {\n  host_ports = true\n", 1);
    assert!(parse(&asked).unwrap().real_server.unwrap().host_ports);
}
