//! Consul's documents, typed as far as the lab reads them, and the questions that they answer.
//!
//! Nothing is asked by a service's or a node's name that no path can hold. Not for writing registrations, which are the JSON
//! that whoever makes them up wants to try.

use std::fmt::Write;
use std::ops::Deref;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use consulrs::client::{ConsulClient, ConsulClientSettingsBuilder};
use serde::Deserialize;

use super::api::{Api, Headers};
use super::document;
use crate::world::access::{Access, Secret};
use crate::world::context::Lab;
use crate::world::topology;

const HEADERS: Headers = Headers {
    token: "X-Consul-Token",
    index: "X-Consul-Index",
};

/// How long one answer may take.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// An instance of a service, as its node has it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Service {
    #[serde(default, rename = "ID")]
    pub id: String,
    #[serde(rename = "Service")]
    pub name: String,
    /// Empty where it is the node's.
    #[serde(default)]
    pub address: String,
    /// Left out where there is none.
    pub port: Option<u16>,
    tags: Option<Vec<String>>,
}

/// A check of a service, or of a node: then `service` is empty.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Check {
    pub node: String,
    #[serde(rename = "ServiceID")]
    pub service: String,
    pub status: String,
}

/// What is registered on a node.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct NodeServices {
    /// Absent where Consul knows no such node.
    node: Option<NodeAddress>,
    #[serde(default, deserialize_with = "document::each")]
    pub services: Vec<Service>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NodeAddress {
    address: String,
}

/// An instance of a service with its checks.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Entry {
    pub service: Service,
    #[serde(default, deserialize_with = "document::each")]
    pub checks: Vec<Check>,
}

impl Service {
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.tags.iter().flatten().map(String::as_str)
    }
}

impl NodeServices {
    /// The address of the node, which its services have that name none of their own.
    pub fn address(&self) -> Option<&str> {
        self.node.as_ref().map(|node| node.address.as_str())
    }
}

/// One agent's API, with its questions.
#[derive(Debug, Clone)]
pub struct Consul {
    api: Api,
    address: String,
    token: Option<Secret>,
}

impl Lab {
    /// The API of Consul's server.
    pub fn consul(&self) -> Consul {
        self.consul_of(topology::Node::Node1)
    }

    /// The API of a node's Consul agent.
    pub fn consul_of(&self, node: topology::Node) -> Consul {
        let token = Access::of(self).ok().map(|access| access.consul);
        let address = self.topology.consul_address_of(node);
        Consul {
            api: Api::new(&address, HEADERS, token.clone()),
            address,
            token,
        }
    }
}

impl Deref for Consul {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

impl Consul {
    /// The same, asked from inside a node: see [`Api::inside`].
    #[must_use]
    pub fn inside(self, lab: &Lab, node: topology::Node) -> Self {
        Self {
            api: self.api.inside(lab, node),
            ..self
        }
    }

    /// The names of all nodes; asked from the machine's own network.
    pub fn nodes(&self) -> Result<Vec<String>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("start a runtime")?;
        let mut settings = ConsulClientSettingsBuilder::default();
        settings.address(&self.address);
        if let Some(token) = &self.token {
            settings.token(token.reveal());
        }
        let settings = settings.build().context("consulrs settings")?;
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

    /// What is registered on a node; nothing where no path can hold its name.
    pub fn services_of(&self, node: &str) -> Result<NodeServices> {
        let Some(name) = path_segment(node) else {
            return Ok(NodeServices::default());
        };
        let path = format!("catalog/node-services/{name}");
        let services = self.document(&path, ANSWER_TIMEOUT);
        services.with_context(|| format!("ask Consul for node {node}"))
    }

    /// Every check of every node.
    pub fn checks(&self) -> Result<Vec<Check>> {
        self.list("health/state/any", ANSWER_TIMEOUT)
    }

    /// The checks of a node and of its services; none where Consul does not know it.
    pub fn checks_of(&self, node: topology::Node) -> Result<Vec<Check>> {
        self.list(&format!("health/node/{}", node.name()), ANSWER_TIMEOUT)
    }

    /// Every instance of a service.
    pub fn entries(&self, service: &str) -> Result<Vec<Entry>> {
        self.list(&format!("health/service/{service}"), ANSWER_TIMEOUT)
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
    fn a_node_of_any_name_that_a_path_can_hold_is_asked_for() {
        assert_eq!(path_segment("node1").as_deref(), Some("node1"));
        assert_eq!(path_segment("a\nb ä").as_deref(), Some("a%0Ab%20%C3%A4"));
        assert_eq!(path_segment("a?b#c%").as_deref(), Some("a%3Fb%23c%25"));
        for name in ["", ".", "..", "a/b"] {
            assert_eq!(path_segment(name), None, "{name:?}");
        }
    }

    #[test]
    fn a_node_that_consul_does_not_know_has_neither_address_nor_services() {
        let unknown: NodeServices = serde_json::from_value(json!({ "Services": null })).unwrap();
        assert!(unknown.address().is_none() && unknown.services.is_empty());
    }

    #[test]
    fn an_instance_is_read_with_its_checks() {
        let entry: Entry = serde_json::from_value(json!({
            "Node": { "Node": "node1" },
            "Service": { "ID": "a", "Service": "web", "Address": "198.18.0.11", "Port": 25000, "Tags": ["one"] },
            "Checks": [{ "Node": "node1", "ServiceID": "", "Status": "passing" }, 7],
        }))
        .unwrap();
        assert_eq!((entry.service.port, entry.checks.len()), (Some(25_000), 1));
        assert_eq!(entry.service.tags().collect::<Vec<_>>(), ["one"]);
    }
}
