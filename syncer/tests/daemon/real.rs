//! Against a real Consul, with as many services as are asked for: how long a change takes, and what it costs at rest.
//!
//! ```text
//! consul agent -dev &
//! CONSUL_HTTP_ADDR=127.0.0.1:8500 SERVICES=2000 cargo test -p ipvs-syncer --test daemon -- --ignored --nocapture real
//! ```

#![expect(clippy::print_stdout, reason = "figures are what it is for")]

use std::time::{Duration, Instant};

use ipvs_syncer::http::{Api, Http};
use serde_json::{Value, json};

use super::harness::Lab;

const INSTANCES: usize = 5;

/// Nodes that the instances are spread over.
const NODES: usize = 20;

const CHANGES: usize = 40;

/// As many as the syncer may have, and the one of this test.
const CONNECTIONS: usize = 17;

/// How long nothing happens.
const REST: Duration = Duration::from_secs(10);

const LIMIT: Duration = Duration::from_mins(1);

fn vip(n: usize) -> String {
    format!("198.18.0.{}:{}", 1 + n / 60_000, 1 + n % 60_000)
}

/// An instance's address: the node's and a port, none twice.
fn real(n: usize, instance: usize) -> (usize, usize) {
    let number = n * INSTANCES + instance;
    (number % NODES, 1 + number / NODES)
}

fn operations(n: usize, instance: usize, weight: u32, status: &str) -> [Value; 2] {
    let (node, port) = real(n, instance);
    let (node, id) = (format!("real-{node}"), format!("many-{n}-{instance}"));
    let service = json!({ "ID": id, "Service": format!("many-{n}"), "Port": port,
                          "Tags": [format!("ipvs.vip={}", vip(n)), "ipvs.scheduler=rr"],
                          "Weights": { "Passing": weight, "Warning": 1 } });
    let check = json!({ "Node": node, "CheckID": format!("c-{id}"), "ServiceID": id, "Name": "port", "Status": status,
                        "Output": "TCP connect 198.18.0.11:20000: Success" });
    [
        json!({ "Service": { "Verb": "set", "Node": node, "Service": service } }),
        json!({ "Check": { "Verb": "set", "Check": check } }),
    ]
}

async fn transact(http: &Http, operations: &[Value]) {
    for some in operations.chunks(64) {
        let body = serde_json::to_vec(some).unwrap();
        http.put("/v1/txn", Some(body), LIMIT).await.unwrap();
    }
}

/// User and system time of this process so far.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

/// Connections of this process's namespace to that port.
fn connections(port: &str) -> usize {
    let port = format!(":{:04X}", port.parse::<u16>().unwrap());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let to = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields[2].ends_with(&port) && fields[3] == "01"
    };
    table.lines().skip(1).filter(to).count()
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    println!(
        "{what}: p50 {:.1?} p99 {:.1?} max {:.1?}",
        at(50),
        at(99),
        times[times.len() - 1]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real Consul of its own: CONSUL_HTTP_ADDR, SERVICES"]
async fn changes_of_many_services_in_a_real_consul() {
    let address = std::env::var("CONSUL_HTTP_ADDR").unwrap();
    let services: usize = std::env::var("SERVICES").unwrap().parse().unwrap();
    let url = format!("http://{address}");
    let api = Api::at(url.parse().unwrap());
    let http = Http::new(&api, "X-Unused").unwrap();
    let nodes: Vec<Value> = (0..NODES)
        .map(|node| {
            let node = json!({ "Node": format!("real-{node}"), "Address": format!("198.19.0.{}", 1 + node) });
            json!({ "Node": { "Verb": "set", "Node": node } })
        })
        .collect();
    transact(&http, &nodes).await;
    let all: Vec<Value> = (0..services)
        .flat_map(|n| (0..INSTANCES).flat_map(move |i| operations(n, i, 1, "passing")))
        .collect();
    transact(&http, &all).await;
    let mut lab = Lab::new().await;
    lab.consul.address = url;
    let (started, before) = (Instant::now(), cpu());
    let daemon = lab.daemon();
    let weight = |n: usize, instance: usize| {
        let id = vip(n).parse().unwrap();
        let (node, port) = real(n, instance);
        let address = format!("198.19.0.{}:{port}", 1 + node).parse().unwrap();
        let inside = lab.director.inside();
        let real = inside.kernel.table.get(&id)?.real(address)?;
        Some(real.weight.get())
    };
    let until = async |n: usize, instance: usize, expected: Option<u32>| {
        let started = Instant::now();
        while weight(n, instance) != expected {
            assert!(
                started.elapsed() < LIMIT,
                "{n}/{instance} is {:?}",
                weight(n, instance)
            );
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
        started.elapsed()
    };
    until(services - 1, INSTANCES - 1, Some(1)).await;
    println!(
        "{services} services: cold start {:.1?}, {:.1?} CPU",
        started.elapsed(),
        cpu().saturating_sub(before)
    );
    let (mut checks, mut weights, mut gone, mut back) = (vec![], vec![], vec![], vec![]);
    for change in 0..CHANGES {
        let n = change * 7919 % services;
        for (status, expected) in [("critical", 0), ("passing", 1)] {
            transact(&http, &operations(n, 0, 1, status)[1..]).await;
            checks.push(until(n, 0, Some(expected)).await);
        }
        for value in [3, 1] {
            transact(&http, &operations(n, 1, value, "passing")[..1]).await;
            weights.push(until(n, 1, Some(value)).await);
        }
        let (node, _) = real(n, 2);
        let id = json!({ "Service": { "Verb": "delete", "Node": format!("real-{node}"),
                                      "Service": { "ID": format!("many-{n}-2"), "Service": format!("many-{n}") } } });
        transact(&http, &[id]).await;
        gone.push(until(n, 2, None).await);
        transact(&http, &operations(n, 2, 1, "passing")).await;
        back.push(until(n, 2, Some(1)).await);
    }
    report("a check changes", checks);
    report("a weight changes", weights);
    report("an instance leaves", gone);
    report("an instance comes", back);
    let connections = connections(address.rsplit(':').next().unwrap());
    println!("connections: {connections}");
    assert!(connections <= CONNECTIONS, "{connections}");
    let (started, before) = (Instant::now(), cpu());
    tokio::time::sleep(REST).await;
    println!(
        "at rest: {:.2} % of a core",
        100.0 * (cpu().saturating_sub(before)).as_secs_f64() / started.elapsed().as_secs_f64()
    );
    assert!(daemon.status().await.ready);
}
