//! Consul's JSON, and from it our words. Only the fields that we use; the rest of each object is skipped.
//!
//! What an odd field costs: an instance without a usable address, port or weights is left out by name, an odd tag is no
//! tag, a check that can't be read is critical, for nobody knows that it passes.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::Deserialize;
use syncer_core::model::LeftOut;
use syncer_core::model::catalog::{CatalogService, Health, Instance, Origin, Tags};

use super::lenient::{Clamped, Field};

/// How many instances of a service are named that can't be used.
const LEFT_OUT_NAMED: usize = 20;

/// `/v1/catalog/services`: names and the union of their instances' tags.
pub(super) type ServiceNames = HashMap<String, Field<Vec<Field<String>>>>;

/// `/v1/health/service/:name`.
pub(super) type Entries = Vec<Field<Entry>>;

/// One entry of an answer about a service.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Entry {
    node: Field<Node>,
    service: Field<Service>,
    checks: Field<Vec<Field<Check>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Node {
    #[serde(rename = "Node")]
    name: Field<String>,
    address: Field<String>,
    tagged_addresses: Field<HashMap<String, Field<String>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Service {
    #[serde(rename = "ID")]
    id: Field<String>,
    address: Field<String>,
    port: Field<Clamped>,
    tags: Field<Vec<Field<String>>>,
    weights: Field<Weights>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Weights {
    passing: Field<Clamped>,
    warning: Field<Clamped>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Check {
    #[serde(rename = "CheckID")]
    id: Field<String>,
    status: Field<String>,
    #[serde(rename = "ServiceID")]
    service_id: Field<String>,
}

/// One entry of `/v1/health/state/:state`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct CheckEntry {
    pub(super) node: Field<String>,
    #[serde(rename = "CheckID")]
    pub(super) id: Field<String>,
    /// Empty where the check is the node's.
    pub(super) service_name: Field<String>,
    pub(super) modify_index: Field<Clamped>,
}

/// The service that these entries are.
pub(super) fn service(entries: &Entries) -> CatalogService {
    let mut instances = Vec::with_capacity(entries.len());
    let mut left_out = Vec::new();
    let mut tags = Shared::default();
    for (position, entry) in entries.iter().enumerate() {
        match instance(entry, &mut tags) {
            Ok(instance) => instances.push(instance),
            Err(reason) => left_out.push(LeftOut {
                what: name(entry, position),
                reason: reason.to_owned(),
            }),
        }
    }
    // The allocation last, so that the order of the answer decides nothing.
    let alloc = |instance: &Instance| instance.origin.as_ref().map(|origin| origin.alloc);
    instances.sort_by(|left: &Instance, right: &Instance| {
        let key = |instance: &Instance| (instance.address, rank(instance.health), alloc(instance));
        let tags = || left.tags.words.cmp(&right.tags.words);
        key(left).cmp(&key(right)).then_with(tags)
    });
    left_out.sort_by(|left, right| left.what.cmp(&right.what));
    let more = left_out.len().saturating_sub(LEFT_OUT_NAMED);
    if more > 0 {
        left_out.truncate(LEFT_OUT_NAMED);
        left_out.push(LeftOut {
            what: format!("{more} more"),
            reason: "they can't be used either".to_owned(),
        });
    }
    CatalogService {
        instances,
        left_out,
        hosts: hosts(entries),
    }
}

/// Names an entry by its id; where it has none, by its place in the answer.
fn name(entry: &Field<Entry>, position: usize) -> String {
    let service = entry.value().and_then(|entry| entry.service.value());
    match service.map(|service| service.id.text()) {
        None | Some("") => format!("number {} of the answer", position + 1),
        Some(id) => id.to_owned(),
    }
}

fn rank(health: Health) -> u8 {
    match health {
        Health::Passing => 0,
        Health::Warning => 1,
        Health::Critical => 2,
        Health::Maintenance => 3,
    }
}

fn address(node: &Node, service: &Service) -> Result<IpAddr, &'static str> {
    let text = match (&service.address, &node.address) {
        (Field::Odd, _) => return Err("its address is not a text"),
        (Field::Value(own), _) if !own.is_empty() => own,
        (_, Field::Value(address)) if !address.is_empty() => address,
        _ => return Err("neither it nor its node has an address"),
    };
    text.parse()
        .map_err(|_| "its address is no IP address (names are not looked up)")
}

fn port(service: &Service) -> Result<u16, &'static str> {
    match service.port {
        Field::Absent | Field::Value(Clamped(0)) => Err("it has no port"),
        Field::Odd => Err("its port is not a number"),
        Field::Value(Clamped(port)) => {
            u16::try_from(port).map_err(|_| "its port is not from 1 to 65535")
        }
    }
}

/// Reads a weight: one that is not set is 1, one below 0 is 0.
fn weight(field: &Field<Clamped>) -> Result<u32, &'static str> {
    match field {
        Field::Absent => Ok(1),
        Field::Odd => Err("its weights are not numbers"),
        Field::Value(Clamped(weight)) => Ok(u32::try_from((*weight).max(0)).unwrap_or(u32::MAX)),
    }
}

fn instance(entry: &Field<Entry>, tags: &mut Shared) -> Result<Instance, &'static str> {
    const NOT_DESCRIBED: &str = "it is not described";
    let entry = entry.value().ok_or(NOT_DESCRIBED)?;
    let service = entry.service.value().ok_or(NOT_DESCRIBED)?;
    let (no_node, no_weights) = (Node::default(), Weights::default());
    let node = entry.node.value().unwrap_or(&no_node);
    let address = SocketAddr::new(address(node, service)?, port(service)?);
    if service.weights.is_odd() {
        return Err("its weights are not numbers");
    }
    if entry.checks.is_odd() {
        return Err("its checks are not a list");
    }
    let weights = service.weights.value().unwrap_or(&no_weights);
    let id = service.id.text();
    let mut checks = entry.checks.values();
    Ok(Instance {
        address,
        health: health(entry.checks.value().map_or(&[], Vec::as_slice)),
        checked: !id.is_empty() && checks.any(|check| check.service_id.text() == id),
        weight_passing: weight(&weights.passing)?,
        weight_warning: weight(&weights.warning)?,
        node: Arc::from(node.name.text()),
        origin: Origin::of_service_id(id),
        tags: tags.of(service),
    })
}

fn health(checks: &[Field<Check>]) -> Health {
    let maintained = |check: &Check| {
        let id = check.id.text();
        id == "_node_maintenance" || id.starts_with("_service_maintenance:")
    };
    let status = |check: &Field<Check>| match check.value() {
        Some(check) if maintained(check) => Health::Maintenance,
        Some(check) if check.status.text() == "passing" => Health::Passing,
        Some(check) if check.status.text() == "warning" => Health::Warning,
        Some(_) | None => Health::Critical,
    };
    checks
        .iter()
        .map(status)
        .max_by_key(|health| rank(*health))
        .unwrap_or(Health::Passing)
}

/// Lists each node's address, and those that it has beside it.
fn hosts(entries: &Entries) -> Vec<(IpAddr, Arc<str>)> {
    let mut hosts: Vec<(IpAddr, Arc<str>)> = Vec::new();
    let entries = entries.iter().filter_map(Field::value);
    for node in entries.filter_map(|entry| entry.node.value()) {
        let tagged = node.tagged_addresses.value().into_iter().flatten();
        let addresses = tagged.map(|(_, address)| address.text());
        for address in addresses.chain([node.address.text()]) {
            // A node may be known by a name only.
            let Ok(ip) = address.parse() else { continue };
            if !hosts.iter().any(|(host, _)| *host == ip) {
                hosts.push((ip, Arc::from(node.name.text())));
            }
        }
    }
    hosts.sort();
    hosts.shrink_to_fit();
    hosts
}

/// The tags of a service's instances: who has the same shares them.
#[derive(Default)]
struct Shared(HashMap<Vec<String>, Arc<Tags>>);

impl Shared {
    fn of(&mut self, service: &Service) -> Arc<Tags> {
        let tags: Vec<String> = service.tags.values().cloned().collect();
        if let Some(shared) = self.0.get(&tags) {
            return Arc::clone(shared);
        }
        let shared = Arc::new(Tags::of(tags.iter().map(String::as_str)));
        self.0.insert(tags, Arc::clone(&shared));
        shared
    }
}

#[cfg(test)]
mod tests;
