//! Consul's view: every instance in the catalogue, with the worst of its checks.
//!
//! Read node by node, never by a service's name: a name may be one that no path can hold (`.`, `..`). What one instance
//! lacks costs that instance alone.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use consulrs::client::{ConsulClient, ConsulClientSettingsBuilder};
use serde_json::Value;

use super::compare::{Instance, Instances};
use crate::client::api::Api;
use crate::world::access::Access;
use crate::world::context::Lab;

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// Consul's and Nomad's own services say nothing about jobs.
const THEIRS: [&str; 3] = ["consul", "nomad", "nomad-client"];

/// The tag with which an instance asks for a VIP.
const VIP_TAG: &str = "ipvs.vip=";

/// By service address and port.
pub(super) fn read(lab: &Lab) -> Result<Instances> {
    let consul = lab.consul();
    let checks = consul.get_json("health/state/any", ANSWER_TIMEOUT);
    let worst = worst(&checks.context("ask Consul")?);
    let mut found = Instances::new();
    for node in nodes(lab)? {
        let services = services(&consul, &node)?;
        for (at, instance) in instances(&node, &services, &worst) {
            found.entry(at).or_default().push(instance);
        }
    }
    Ok(found)
}

/// The names of all nodes.
fn nodes(lab: &Lab) -> Result<Vec<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start a runtime")?;
    let settings = ConsulClientSettingsBuilder::default()
        .address(lab.topology.consul_address())
        .token(Access::of(lab)?.consul.reveal())
        .build()
        .context("consulrs settings")?;
    let client = ConsulClient::new(settings).map_err(|error| anyhow!("consulrs: {error}"))?;
    // consulrs has no time-out of its own.
    let asked = async {
        tokio::time::timeout(ANSWER_TIMEOUT, consulrs::catalog::nodes(&client, None)).await
    };
    let nodes = runtime
        .block_on(asked)
        .context("ask Consul: no answer in 3 s")?
        .map_err(|error| anyhow!("ask Consul: {error}"))?;
    Ok(nodes.response.into_iter().map(|node| node.node).collect())
}

/// All services of a node: a document of Consul's `catalog/node-services`.
fn services(consul: &Api, node: &str) -> Result<Value> {
    let Some(name) = path_segment(node) else {
        // No path holds it; nobody can ask for it this way.
        return Ok(Value::Null);
    };
    let path = format!("catalog/node-services/{name}");
    let found = consul.get_json(&path, ANSWER_TIMEOUT);
    found.with_context(|| format!("ask Consul for node {node}"))
}

/// What it says of instances, each with its place.
fn instances(
    node: &str,
    document: &Value,
    worst: &BTreeMap<(String, String), String>,
) -> Vec<(SocketAddr, Instance)> {
    let of_node = &document["Node"]["Address"];
    let services = document["Services"].as_array().into_iter().flatten();
    let instance = |service: &Value| {
        let name = service["Service"].as_str()?;
        if THEIRS.contains(&name) {
            return None;
        }
        let own = service["Address"].as_str().filter(|own| !own.is_empty());
        let address: IpAddr = own.or(of_node.as_str())?.parse().ok()?;
        let port = u16::try_from(service["Port"].as_u64()?).ok()?;
        let id = service["ID"].as_str().unwrap_or_default();
        let health = worst.get(&(node.to_owned(), id.to_owned()));
        let tags = service["Tags"].as_array().into_iter().flatten();
        let vips = tags.filter_map(|tag| Some(tag.as_str()?.strip_prefix(VIP_TAG)?.to_owned()));
        let instance = Instance {
            service: name.to_owned(),
            health: health.map_or("passing", String::as_str).to_owned(),
            vips: vips.collect(),
        };
        Some((SocketAddr::new(address, port), instance))
    };
    services.filter_map(instance).collect()
}

/// The worst check of each node's services, by node and service id.
fn worst(checks: &Value) -> BTreeMap<(String, String), String> {
    let mut worst: BTreeMap<(String, String), String> = BTreeMap::new();
    for check in checks.as_array().into_iter().flatten() {
        let text = |field: &str| check[field].as_str().map(str::to_owned);
        let (Some(node), Some(id), Some(state)) = (text("Node"), text("ServiceID"), text("Status"))
        else {
            continue;
        };
        let known = worst.entry((node, id)).or_insert_with(|| state.clone());
        if severity(&state) > severity(known) {
            *known = state;
        }
    }
    worst
}

fn severity(state: &str) -> u8 {
    match state {
        "passing" => 0,
        "warning" => 1,
        _ => 2,
    }
}

/// A name as one segment of a path; none for those that a path can't hold.
fn path_segment(name: &str) -> Option<String> {
    if matches!(name, "" | "." | "..") || name.contains('/') {
        return None;
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let mut segment = String::new();
    for byte in name.bytes() {
        if plain(byte) {
            segment.push(char::from(byte));
        } else {
            let _ = write!(segment, "%{byte:02X}");
        }
    }
    Some(segment)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_service_of_any_name_is_read_and_one_that_lacks_something_costs_nobody_else() {
        let document = json!({
            "Node": { "Address": "198.18.0.11" },
            "Services": [
                { "ID": "1", "Service": "..", "Port": 1, "Tags": ["ipvs.vip=198.18.0.30:80"] },
                { "ID": "2", "Service": "a\nb/c", "Address": "", "Port": 2, "Tags": null },
                { "ID": "3", "Service": "no-port" },
                { "ID": "4", "Service": "odd-port", "Port": -1 },
                { "ID": "5", "Service": "odd-address", "Address": "host.example", "Port": 5 },
                { "Service": "no-id", "Address": "198.18.0.12", "Port": 6 },
                { "ID": "7", "Service": "nomad", "Port": 4646 },
                7,
            ],
        });
        let checks = json!([
            { "Node": "n", "ServiceID": "2", "Status": "warning" },
            { "Node": "n", "ServiceID": "2", "Status": "passing" },
            { "Node": "other", "ServiceID": "1", "Status": "critical" },
            { "ServiceID": "1" },
        ]);
        let found = instances("n", &document, &worst(&checks));
        let rows: Vec<(String, &str, &str)> = found
            .iter()
            .map(|(at, it)| (at.to_string(), it.service.as_str(), it.health.as_str()))
            .collect();
        let at = |at: &str| at.to_owned();
        let expected = [
            (at("198.18.0.11:1"), "..", "passing"),
            (at("198.18.0.11:2"), "a\nb/c", "warning"),
            (at("198.18.0.12:6"), "no-id", "passing"),
        ];
        assert_eq!(rows, expected);
        assert!(found[0].1.vips.contains("198.18.0.30:80"));
    }

    #[test]
    fn a_node_of_any_name_that_a_path_can_hold_is_asked_for() {
        assert_eq!(path_segment("node1").as_deref(), Some("node1"));
        assert_eq!(path_segment("a\nb ä").as_deref(), Some("a%0Ab%20%C3%A4"));
        assert_eq!(path_segment("a?b#c%").as_deref(), Some("a%3Fb%23c%25"));
        for name in ["", ".", "..", "a/b"] {
            assert_eq!(path_segment(name), None, "{name:?}");
        }
    }
}
