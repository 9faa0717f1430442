//! Consul's view: every instance in the catalogue, with the worst of its checks.
//!
//! Read node by node, never by a service's name: a name may be one that no path can hold (`.`, `..`). What one instance
//! lacks costs that instance alone.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};

use super::compare::{Instance, Instances};
use crate::client::consul::{Check, NodeServices, Service};
use crate::world::context::Lab;

/// Consul's and Nomad's own services say nothing about jobs.
const THEIRS: [&str; 3] = ["consul", "nomad", "nomad-client"];

/// The tag with which an instance asks for a VIP.
const VIP_TAG: &str = "ipvs.vip=";

/// By service address and port.
pub(super) fn read(lab: &Lab) -> Result<Instances> {
    let consul = lab.consul();
    let worst = worst(consul.checks().context("ask Consul")?);
    let mut found = Instances::new();
    for node in consul.nodes()? {
        let services = consul.services_of(&node)?;
        for (at, instance) in instances(&node, &services, &worst) {
            found.entry(at).or_default().push(instance);
        }
    }
    Ok(found)
}

/// What a node's services say of instances, each with its place.
fn instances(
    node: &str,
    services: &NodeServices,
    worst: &BTreeMap<(String, String), String>,
) -> Vec<(SocketAddr, Instance)> {
    let of_node = services.address();
    let instance = |service: &Service| {
        if THEIRS.contains(&service.name.as_str()) {
            return None;
        }
        let own = Some(service.address.as_str()).filter(|own| !own.is_empty());
        let address: IpAddr = own.or(of_node)?.parse().ok()?;
        let health = worst.get(&(node.to_owned(), service.id.clone()));
        let vips = service.tags().filter_map(|tag| tag.strip_prefix(VIP_TAG));
        let instance = Instance {
            service: service.name.clone(),
            health: health.map_or("passing", String::as_str).to_owned(),
            vips: vips.map(str::to_owned).collect(),
        };
        Some((SocketAddr::new(address, service.port?), instance))
    };
    services.services.iter().filter_map(instance).collect()
}

/// The worst check of each node's services, by node and service id.
fn worst(checks: Vec<Check>) -> BTreeMap<(String, String), String> {
    let mut worst: BTreeMap<(String, String), String> = BTreeMap::new();
    for check in checks {
        let key = (check.node, check.service);
        let known = worst.entry(key).or_insert_with(|| check.status.clone());
        if severity(&check.status) > severity(known) {
            *known = check.status;
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_service_of_any_name_is_read_and_one_that_lacks_something_costs_nobody_else() {
        let services = serde_json::from_value(json!({
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
        }))
        .unwrap();
        let check = |node: &str, id: &str, status: &str| Check {
            node: node.to_owned(),
            service: id.to_owned(),
            status: status.to_owned(),
        };
        let checks = vec![
            check("n", "2", "warning"),
            check("n", "2", "passing"),
            check("other", "1", "critical"),
        ];
        let found = instances("n", &services, &worst(checks));
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
}
