//! Consul's JSON, and from it our words. Only the fields that we use; the rest of each object is skipped.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::Deserialize;

use crate::model::catalog::{CatalogService, Health, Instance, Origin, Tags};

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
    #[serde(rename = "Node")]
    name: String,
    address: String,
    tagged_addresses: Option<HashMap<String, Option<String>>>,
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
    let mut tags = Shared::default();
    for entry in entries {
        match instance(entry, &mut tags) {
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
    let alloc = |instance: &Instance| instance.origin.as_ref().map(|origin| origin.alloc);
    instances.sort_by(|one: &Instance, other: &Instance| {
        let key = |it: &Instance| (it.address, rank(it.health), alloc(it));
        let tags = || one.tags.words.cmp(&other.tags.words);
        key(one).cmp(&key(other)).then_with(tags)
    });
    let hosts = hosts(entries);
    (CatalogService { instances, hosts }, unusable)
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

fn instance(entry: &Entry, tags: &mut Shared) -> Option<Instance> {
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
        node: Arc::from(entry.node.name.as_str()),
        origin: Origin::of_service_id(&entry.service.id),
        tags: tags.of(entry),
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

/// Each node's address, and those that it has beside it.
fn hosts(entries: &[Entry]) -> Vec<(IpAddr, Arc<str>)> {
    let mut hosts: Vec<(IpAddr, Arc<str>)> = Vec::new();
    for node in entries.iter().map(|entry| &entry.node) {
        let tagged = node.tagged_addresses.iter().flatten();
        let addresses = tagged.filter_map(|(_, address)| address.as_ref());
        for address in addresses.chain([&node.address]) {
            // A node may be known by a name only.
            let Ok(ip) = address.parse() else { continue };
            if !hosts.iter().any(|(there, _)| *there == ip) {
                hosts.push((ip, Arc::from(node.name.as_str())));
            }
        }
    }
    hosts.sort();
    hosts
}

/// The tags of a service's instances: who has the same shares them.
#[derive(Default)]
struct Shared(HashMap<Vec<String>, Arc<Tags>>);

impl Shared {
    fn of(&mut self, entry: &Entry) -> Arc<Tags> {
        let tags = entry.service.tags.as_deref().unwrap_or_default();
        if let Some(shared) = self.0.get(tags) {
            return Arc::clone(shared);
        }
        let shared = Arc::new(Tags::of(tags.iter().map(String::as_str)));
        self.0.insert(tags.to_vec(), Arc::clone(&shared));
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::policy::Ask;

    /// As Consul 1.14 answers, shortened.
    const ANSWER: &str = r#"[
      {"Node":{"ID":"x","Node":"node1","Address":"198.18.0.11","Meta":null,
               "TaggedAddresses":{"lan":"198.18.0.11","wan":"203.0.113.9","odd":null}},
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
        let asked: Vec<Option<String>> = service
            .instances
            .iter()
            .map(|instance| match &instance.tags.ask {
                Some(Ask::Vip(vip)) => Some(vip.id.to_string()),
                _ => None,
            })
            .collect();
        assert_eq!(asked, [Some("tcp://198.18.0.29:80".to_owned()), None]);
    }

    #[test]
    fn each_address_of_a_node_is_known_as_the_nodes() {
        let entries: Vec<Entry> = serde_json::from_str(ANSWER).unwrap();
        let (service, _) = service(&entries);
        let hosts: Vec<String> = service
            .hosts
            .iter()
            .map(|(ip, node)| format!("{node} {ip}"))
            .collect();
        let expected = [
            "node1 198.18.0.11",
            "node2 198.18.0.12",
            "node1 203.0.113.9",
        ];
        assert_eq!(hosts, expected);
    }

    #[test]
    fn instances_with_the_same_tags_share_them() {
        let mut entries: Vec<serde_json::Value> = serde_json::from_str(ANSWER).unwrap();
        entries.push(entries[0].clone());
        entries[3]["Service"]["Port"] = 20001.into();
        let read: Vec<Entry> = entries
            .into_iter()
            .map(|entry| serde_json::from_value(entry).unwrap())
            .collect();
        let (service, _) = service(&read);
        let [first, other, twin] = service.instances.as_slice() else {
            panic!("{:?}", service.instances);
        };
        assert!(Arc::ptr_eq(&first.tags, &twin.tags));
        assert!(!Arc::ptr_eq(&first.tags, &other.tags));
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
