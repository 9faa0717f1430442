//! More services than Consul lets one address have connections, in a Consul of their own: what only a real one limits.

use std::process::Command;

use crate::story;

/// Consul takes 200 connections of one address (`limits.http_max_conns_per_client`).
const SERVICES: &str = "300";

/// Both in a network of their own: `$0` is the suite, `$1` is Consul.
const BESIDE_A_CONSUL: &str = r#"
ip link set lo up
"$1" agent -dev -log-level=warn & consul=$!
tries=0
until "$1" operator raft list-peers; do
  tries=$((tries + 1)); [ $tries -lt 150 ] || exit 99
  sleep 0.2
done
"$0" --ignored --nocapture real::
code=$?
kill $consul
exit $code
"#;

#[test]
fn three_hundred_services_are_followed_in_a_real_consul_by_sixteen_connections() {
    let lab = story::up();
    let consul = lab.decisions().unwrap().consul;
    let mut command = Command::new("unshare");
    command
        .args(["--net", "sh", "-c", BESIDE_A_CONSUL])
        .arg(story::suite("daemon"))
        .arg(consul)
        .env("CONSUL_HTTP_ADDR", "127.0.0.1:8500")
        .env("SERVICES", SERVICES);
    let output = command.output().unwrap();
    let text = story::text(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "{text}");
}
