//! Nomad's documents, typed as far as the lab reads them, and the questions that they answer.
//!
//! A list is read item by item: one that is not as expected costs no other. Not for writing jobs, which go through Nomad's own
//! program or are changed as the JSON that they are.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::time::Duration;

use anyhow::Result;
use serde::Deserialize;
use serde_json::Value;

use super::api::{Api, Headers};
use super::document;
use crate::world::access::Access;
use crate::world::context::Lab;
use crate::world::topology;

const HEADERS: Headers = Headers {
    token: "X-Nomad-Token",
    index: "X-Nomad-Index",
};

/// How long one answer may take: the server is on this machine.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// An allocation, as lists show it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Allocation {
    #[serde(rename = "ID")]
    pub id: String,
    #[serde(rename = "JobID")]
    pub job: String,
    pub task_group: String,
    pub desired_status: String,
    pub client_status: String,
    #[serde(default)]
    pub create_index: u64,
    /// Absent until the node has said something.
    task_states: Option<BTreeMap<String, TaskState>>,
    /// In lists only where they are asked for.
    allocated_resources: Option<Resources>,
}

/// How a task fares.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TaskState {
    pub state: String,
    #[serde(default)]
    pub failed: bool,
    #[serde(default)]
    pub restarts: u64,
    pub started_at: Option<String>,
    events: Option<Vec<Event>>,
}

/// Something that happened to a task.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Event {
    #[serde(default, rename = "Type")]
    pub kind: String,
    #[serde(default)]
    pub display_message: String,
    #[serde(default)]
    pub driver_error: String,
}

/// A port of the host that an allocation has.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Port {
    pub label: String,
    value: u16,
    #[serde(rename = "HostIP")]
    host: IpAddr,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Resources {
    shared: Shared,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Shared {
    ports: Option<Vec<Port>>,
}

/// A job as it was submitted last.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Job {
    pub stop: bool,
    pub job_modify_index: u64,
}

/// How a submission comes about.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Deployment {
    pub status: String,
    pub status_description: String,
}

/// One decision of the scheduler.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Evaluation {
    #[serde(rename = "ID")]
    pub id: String,
    pub status: String,
    #[serde(default)]
    pub job_modify_index: u64,
    /// Why nothing was placed, by group.
    #[serde(default, rename = "FailedTGAllocs")]
    pub failures: Value,
}

/// A node, as lists show it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Node {
    #[serde(rename = "ID")]
    pub id: String,
    pub name: String,
    pub status: String,
    drivers: Option<BTreeMap<String, Driver>>,
}

/// A driver of a node.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Driver {
    pub healthy: bool,
    pub health_description: String,
}

/// An agent.
#[derive(Debug, Clone, Deserialize)]
pub struct Agent {
    stats: Stats,
}

#[derive(Debug, Clone, Deserialize)]
struct Stats {
    /// Absent until the agent is a client.
    client: Option<ClientStats>,
}

#[derive(Debug, Clone, Deserialize)]
struct ClientStats {
    heartbeat_ttl: Option<String>,
}

impl Allocation {
    /// Wanted, and not on its way out.
    pub fn is_wanted(&self) -> bool {
        self.desired_status == "run"
    }

    /// Its tasks neither run nor will. Such ones stay in Nomad's lists for hours.
    pub fn is_over(&self) -> bool {
        matches!(self.client_status.as_str(), "complete" | "failed" | "lost")
    }

    /// By name.
    pub fn task_states(&self) -> impl Iterator<Item = (&String, &TaskState)> {
        self.task_states.iter().flatten()
    }

    /// Where its ports are on the host.
    pub fn ports(&self) -> impl Iterator<Item = &Port> {
        let resources = self.allocated_resources.iter();
        resources.flat_map(|resources| resources.shared.ports.iter().flatten())
    }
}

impl TaskState {
    /// Oldest first; Nomad keeps the last ten.
    pub fn events(&self) -> &[Event] {
        self.events.as_deref().unwrap_or_default()
    }
}

impl Port {
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.value)
    }
}

impl Agent {
    /// Whether the server has given it a time to live: it registers its node with it.
    pub fn has_registered(&self) -> bool {
        let client = self.stats.client.as_ref();
        let heartbeat_ttl = client.and_then(|client| client.heartbeat_ttl.as_deref());
        heartbeat_ttl.is_some_and(|ttl| ttl != "0s")
    }
}

impl Node {
    /// The driver of that name, once the node has looked for it.
    pub fn driver(&self, name: &str) -> Option<&Driver> {
        self.drivers.as_ref()?.get(name)
    }
}

/// One agent's API, with its questions.
#[derive(Debug, Clone)]
pub struct Nomad(Api);

impl Lab {
    /// The API of Nomad's server, asked from the machine's own network.
    pub fn nomad(&self) -> Nomad {
        self.nomad_of(topology::Node::Node1)
    }

    /// The API of a node's Nomad agent.
    pub fn nomad_of(&self, node: topology::Node) -> Nomad {
        let token = Access::of(self).ok().map(|access| access.nomad);
        let address = self.topology.nomad_address_of(node);
        Nomad(Api::new(&address, HEADERS, token))
    }
}

impl Deref for Nomad {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.0
    }
}

impl Nomad {
    /// The same, asked from inside a node: see [`Api::inside`].
    #[must_use]
    pub fn inside(self, lab: &Lab, node: topology::Node) -> Self {
        Self(self.0.inside(lab, node))
    }

    /// Every allocation that Nomad remembers, with its ports.
    pub fn allocations(&self) -> Result<Vec<Allocation>> {
        self.list("allocations?namespace=*&resources=true", ANSWER_TIMEOUT)
    }

    /// A job's allocations; without ports.
    pub fn allocations_of(&self, job: &str) -> Result<Vec<Allocation>> {
        self.list(&format!("job/{job}/allocations"), ANSWER_TIMEOUT)
    }

    pub fn allocation(&self, id: &str) -> Result<Allocation> {
        self.document(&format!("allocation/{id}"), ANSWER_TIMEOUT)
    }

    /// `None`: Nomad knows no such job.
    pub fn job(&self, job: &str) -> Result<Option<Job>> {
        let path = format!("job/{job}");
        let answer = self.get(&path, ANSWER_TIMEOUT)?;
        if answer.status == 404 {
            return Ok(None);
        }
        document::typed(answer.json(&format!("GET {path}"))?, &path).map(Some)
    }

    /// A job's latest deployment, if it has had one.
    pub fn deployment(&self, job: &str) -> Result<Option<Deployment>> {
        self.document(&format!("job/{job}/deployment"), ANSWER_TIMEOUT)
    }

    pub fn evaluations(&self, job: &str) -> Result<Vec<Evaluation>> {
        self.list(&format!("job/{job}/evaluations"), ANSWER_TIMEOUT)
    }

    pub fn nodes(&self) -> Result<Vec<Node>> {
        self.list("nodes", ANSWER_TIMEOUT)
    }

    /// What this agent says of itself.
    pub fn agent(&self) -> Result<Agent> {
        self.document("agent/self", ANSWER_TIMEOUT)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_allocation_that_nobody_has_heard_of_yet_has_neither_tasks_nor_ports() {
        let placed = json!({
            "ID": "a", "JobID": "j", "TaskGroup": "g", "DesiredStatus": "run", "ClientStatus": "pending",
            "TaskStates": null, "AllocatedResources": null,
        });
        let odd = json!({ "ID": 7 });
        let all: Vec<Allocation> = document::read_each(vec![odd, placed]);
        let [placed] = all.as_slice() else {
            panic!("{all:?}")
        };
        assert!(placed.is_wanted() && !placed.is_over());
        assert_eq!(
            (placed.task_states().count(), placed.ports().count()),
            (0, 0)
        );
    }

    #[test]
    fn ports_and_events_are_read_where_they_are() {
        let running: Allocation = serde_json::from_value(json!({
            "ID": "a", "JobID": "j", "TaskGroup": "g", "DesiredStatus": "stop", "ClientStatus": "complete",
            "CreateIndex": 12,
            "TaskStates": { "web": {
                "State": "dead", "Failed": true, "Restarts": 2, "StartedAt": "2026-11-28T12:32:43Z",
                "Events": [{ "Type": "Started", "DisplayMessage": "Task started by client" }, {}],
            }},
            "AllocatedResources": { "Shared": { "Ports": [{ "Label": "www", "Value": 25000, "HostIP": "198.18.0.11" }] } },
        }))
        .unwrap();
        assert!(!running.is_wanted() && running.is_over());
        let addresses: Vec<_> = running.ports().map(Port::address).collect();
        assert_eq!(addresses, ["198.18.0.11:25000".parse().unwrap()]);
        let (name, state) = running.task_states().next().unwrap();
        assert_eq!(
            (name.as_str(), state.restarts, state.failed),
            ("web", 2, true)
        );
        assert_eq!(state.events()[0].display_message, "Task started by client");
        assert_eq!(state.events()[1].kind, "");
    }

    #[test]
    fn an_agent_has_registered_once_the_server_has_given_it_a_time_to_live() {
        let agent = |client| -> Agent {
            serde_json::from_value(json!({ "stats": { "client": client } })).unwrap()
        };
        assert!(agent(json!({ "heartbeat_ttl": "11.399886758s" })).has_registered());
        let new = json!({ "heartbeat_ttl": "0s", "last_heartbeat": "2562047h47m16.854775807s" });
        assert!(!agent(new).has_registered());
        assert!(!agent(json!(null)).has_registered());
    }

    #[test]
    fn a_node_has_a_driver_once_it_has_looked_for_it() {
        let node = |drivers| -> Node {
            let node = json!({ "ID": "n", "Name": "node1", "Status": "ready", "Drivers": drivers });
            serde_json::from_value(node).unwrap()
        };
        assert!(node(json!(null)).driver("docker").is_none());
        let known = node(json!({ "docker": { "Healthy": true, "HealthDescription": "Healthy" } }));
        assert!(known.driver("docker").is_some_and(|driver| driver.healthy));
        assert!(known.driver("exec").is_none());
    }
}
