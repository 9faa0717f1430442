//! Consul's JSON, and from it our words. Only the fields that we use; the rest of each object is skipped.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::Deserialize;

use crate::model::catalog::{CatalogService, Health, Instance, Origin};
use crate::model::policy::{Rejected, VipPolicy};
use crate::tags;

/// `/v1/catalog/services`: names and the union of their instances' tags.
pub(super) type ServiceNames = HashMap<String, Option<Vec<String>>>;

/// One entry of `/v1/health/service/:name`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Entry {
    node: Node,
    service: Service,
    checks: Option<Vec<Check>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    node: String,
    address: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Service {
    #[serde(rename = "ID")]
    id: String,
    #[serde(default)]
    address: String,
    port: i64,
    tags: Option<Vec<String>>,
    weights: Option<Weights>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Weights {
    passing: i64,
    warning: i64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Check {
    #[serde(rename = "CheckID")]
    id: String,
    status: String,
    #[serde(rename = "ServiceID", default)]
    service_id: String,
}

/// The service that these entries are; and addresses that are none.
pub(super) fn service(entries: &[Entry]) -> (CatalogService, Vec<String>) {
    let mut instances = Vec::with_capacity(entries.len());
    let mut unusable = Vec::new();
    for entry in entries {
        match instance(entry) {
            Some(instance) => instances.push(instance),
            None => unusable.push(format!(
                "{} ({}:{})",
                entry.service.id,
                address(entry),
                entry.service.port
            )),
        }
    }
    // The allocation last, so that the order of the answer decides nothing.
    instances.sort_by_key(|instance: &Instance| {
        let alloc = instance.origin.as_ref().map(|origin| origin.alloc);
        (instance.address, rank(instance.health), alloc)
    });
    (
        CatalogService {
            instances,
            tagged: tagged(entries),
        },
        unusable,
    )
}

fn rank(health: Health) -> u8 {
    match health {
        Health::Passing => 0,
        Health::Warning => 1,
        Health::Critical => 2,
        Health::Maintenance => 3,
    }
}

fn address(entry: &Entry) -> &str {
    let own = entry.service.address.as_str();
    if own.is_empty() {
        &entry.node.address
    } else {
        own
    }
}

fn instance(entry: &Entry) -> Option<Instance> {
    let address: IpAddr = address(entry).parse().ok()?;
    let port = u16::try_from(entry.service.port)
        .ok()
        .filter(|port| *port != 0)?;
    let weights = entry.service.weights.unwrap_or(Weights {
        passing: 1,
        warning: 1,
    });
    let checks = entry.checks.as_deref().unwrap_or_default();
    Some(Instance {
        address: SocketAddr::new(address, port),
        health: health(checks),
        checked: checks
            .iter()
            .any(|check| check.service_id == entry.service.id),
        weight_passing: u32::try_from(weights.passing).unwrap_or(0),
        weight_warning: u32::try_from(weights.warning).unwrap_or(0),
        node: Arc::from(entry.node.node.as_str()),
        origin: Origin::of_service_id(&entry.service.id),
    })
}

fn health(checks: &[Check]) -> Health {
    let maintained = |check: &Check| {
        check.id == "_node_maintenance" || check.id.starts_with("_service_maintenance:")
    };
    let one = |check: &Check| match check.status.as_str() {
        _ if maintained(check) => Health::Maintenance,
        "passing" => Health::Passing,
        "warning" => Health::Warning,
        _ => Health::Critical,
    };
    checks
        .iter()
        .map(one)
        .max_by_key(|health| rank(*health))
        .unwrap_or(Health::Passing)
}

/// What most instances ask for: while tags change from one version of a job to the next, both are there.
fn tagged(entries: &[Entry]) -> Option<Result<VipPolicy, Rejected>> {
    let mut votes: Vec<(Result<VipPolicy, Rejected>, usize)> = Vec::new();
    // In order of id: of equally many the first counts, whatever the order of the answer.
    let mut entries: Vec<&Entry> = entries.iter().collect();
    entries.sort_by(|one, other| one.service.id.cmp(&other.service.id));
    for entry in entries {
        let tags = entry.service.tags.as_deref().unwrap_or_default();
        let Some(policy) = tags::policy(tags.iter().map(String::as_str)) else {
            continue;
        };
        match votes.iter_mut().find(|(there, _)| *there == policy) {
            Some((_, count)) => *count += 1,
            None => votes.push((policy, 1)),
        }
    }
    let most = votes
        .iter()
        .rev()
        .filter(|(policy, _)| policy.is_ok())
        .max_by_key(|(_, count)| *count);
    most.or(votes.first()).map(|(policy, _)| policy.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Consul 1.14 answers, shortened.
    const ANSWER: &str = r#"[
      {"Node":{"ID":"x","Node":"node1","Address":"198.18.0.11","Meta":null},
       "Service":{"ID":"_nomad-task-0f6b3d3e-6f0e-7d3c-1f2a-6f2a0c7f0b11-group-web-www-http","Service":"www",
                  "Tags":["ipvs.vip=198.18.0.29:80"],"Address":"","Port":20000,"Weights":{"Passing":5,"Warning":2}},
       "Checks":[{"CheckID":"serfHealth","Status":"passing","ServiceID":""},
                 {"CheckID":"c","Status":"warning","ServiceID":"_nomad-task-0f6b3d3e-6f0e-7d3c-1f2a-6f2a0c7f0b11-group-web-www-http"}]},
      {"Node":{"Node":"node2","Address":"198.18.0.12"},
       "Service":{"ID":"other","Tags":null,"Address":"198.18.0.11","Port":20000,"Weights":null},
       "Checks":[{"CheckID":"_node_maintenance","Status":"critical"}]},
      {"Node":{"Node":"node2","Address":"198.18.0.12"},
       "Service":{"ID":"named","Tags":[],"Address":"somewhere.example","Port":1},"Checks":null}]"#;

    #[test]
    fn an_answer_becomes_instances_with_their_worst_health() {
        let entries: Vec<Entry> = serde_json::from_str(ANSWER).unwrap();
        let (service, unusable) = service(&entries);
        assert_eq!(
            service.instances.len(),
            2,
            "two registrations of one address"
        );
        let instance = &service.instances[0];
        assert_eq!(instance.address, "198.18.0.11:20000".parse().unwrap());
        assert_eq!(
            (instance.health, instance.checked, instance.weight_passing),
            (Health::Warning, true, 5)
        );
        assert!(instance.origin.is_some());
        assert_eq!(unusable, ["named (somewhere.example:1)"]);
        assert_eq!(
            service.tagged.unwrap().unwrap().id.to_string(),
            "tcp://198.18.0.29:80"
        );
    }

    #[test]
    fn the_order_of_an_answer_does_not_matter() {
        let mut entries: Vec<serde_json::Value> = serde_json::from_str(ANSWER).unwrap();
        // A twin of the first under another allocation, which asks for another VIP.
        let mut twin = entries[0].clone();
        twin["Service"]["ID"] =
            "_nomad-task-1f6b3d3e-6f0e-7d3c-1f2a-6f2a0c7f0b11-group-web-www-http".into();
        twin["Service"]["Tags"] = serde_json::json!(["ipvs.vip=198.18.0.30:80"]);
        entries.push(twin);
        let read = |entries: &[serde_json::Value]| {
            let entries: Vec<Entry> = entries
                .iter()
                .map(|entry| serde_json::from_value(entry.clone()).unwrap())
                .collect();
            service(&entries).0
        };
        let expected = read(&entries);
        for turn in 0..entries.len() {
            let mut turned = entries.clone();
            turned.rotate_left(turn);
            assert_eq!(read(&turned), expected);
            turned.reverse();
            assert_eq!(read(&turned), expected);
        }
    }
}
