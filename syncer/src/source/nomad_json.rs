//! Nomad's JSON, and from it our words. Only the fields that we use.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use crate::model::fleet::{Allocation, ClientStatus, Port, Task, TaskState};

/// One entry of `/v1/allocations?resources=true`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Stub {
    #[serde(rename = "ID")]
    pub(super) id: String,
    #[serde(default)]
    pub(super) namespace: String,
    #[serde(rename = "NodeID")]
    node_id: String,
    #[serde(default)]
    node_name: String,
    #[serde(rename = "JobID")]
    pub(super) job: String,
    #[serde(default)]
    pub(super) job_version: u64,
    task_group: String,
    allocated_resources: Option<Resources>,
    desired_status: String,
    client_status: String,
    task_states: Option<HashMap<String, State>>,
    #[serde(default)]
    create_index: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Resources {
    shared: Option<Shared>,
    tasks: Option<HashMap<String, TaskResources>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Shared {
    ports: Option<Vec<Mapping>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TaskResources {
    networks: Option<Vec<Network>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Network {
    #[serde(rename = "IP", default)]
    ip: String,
    reserved_ports: Option<Vec<Mapping>>,
    dynamic_ports: Option<Vec<Mapping>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Mapping {
    label: String,
    value: i64,
    #[serde(rename = "HostIP", default)]
    host_ip: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    state: String,
    #[serde(default)]
    started_at: Option<String>,
}

/// What a job says about one group: who serves a port, and which ports Nomad registers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Shape {
    task_of_port: HashMap<String, Arc<str>>,
    registered: BTreeSet<String>,
    only_task: Option<Arc<str>>,
}

/// The shapes of all groups of the job in `/v1/allocation/:id`.
pub(super) fn shapes(allocation: &Value) -> HashMap<String, Shape> {
    let groups = allocation
        .pointer("/Job/TaskGroups")
        .and_then(Value::as_array);
    let named = |group: &Value| Some((group.get("Name")?.as_str()?.to_owned(), shape(group)));
    groups.into_iter().flatten().filter_map(named).collect()
}

fn shape(group: &Value) -> Shape {
    let mut shape = Shape::default();
    register(&mut shape, group, None);
    let tasks = list(group, "Tasks");
    for task in tasks {
        let Some(name) = task.get("Name").and_then(Value::as_str) else {
            continue;
        };
        let name: Arc<str> = Arc::from(name);
        for label in task
            .pointer("/Config/ports")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            if let Some(label) = label.as_str() {
                shape
                    .task_of_port
                    .insert(label.to_owned(), Arc::clone(&name));
            }
        }
        register(&mut shape, task, Some(&name));
    }
    if let [task] = tasks {
        shape.only_task = task.get("Name").and_then(Value::as_str).map(Arc::from);
    }
    shape
}

fn register(shape: &mut Shape, owner: &Value, task: Option<&Arc<str>>) {
    for service in list(owner, "Services") {
        let provider = service
            .get("Provider")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let Some(label) = service.get("PortLabel").and_then(Value::as_str) else {
            continue;
        };
        if let Some(task) = task {
            shape
                .task_of_port
                .entry(label.to_owned())
                .or_insert_with(|| Arc::clone(task));
        }
        if provider.is_empty() || provider == "consul" {
            shape.registered.insert(label.to_owned());
        }
    }
}

fn list<'a>(of: &'a Value, key: &str) -> &'a [Value] {
    of.get(key)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

impl Stub {
    /// Its task group.
    pub(super) fn group(&self) -> &str {
        &self.task_group
    }

    /// Whether it may still serve: only of those the job's shape is asked for.
    pub(super) fn alive(&self) -> bool {
        matches!(
            self.client_status.as_str(),
            "pending" | "running" | "unknown"
        )
    }

    /// In our words; `None` if its id or a status is none that we know.
    pub(super) fn allocation(&self, shape: Option<&Shape>) -> Option<Allocation> {
        let client = match self.client_status.as_str() {
            "pending" => ClientStatus::Pending,
            "running" => ClientStatus::Running,
            "complete" => ClientStatus::Complete,
            "failed" => ClientStatus::Failed,
            "lost" => ClientStatus::Lost,
            "unknown" => ClientStatus::Unknown,
            _ => return None,
        };
        let mut tasks: Vec<Task> = self.task_states.iter().flatten().map(task).collect();
        tasks.sort_by(|a, b| a.name.cmp(&b.name));
        Some(Allocation {
            id: self.id.parse().ok()?,
            namespace: Arc::from(self.namespace.as_str()),
            job: Arc::from(self.job.as_str()),
            group: Arc::from(self.task_group.as_str()),
            node_id: Arc::from(self.node_id.as_str()),
            node_name: Arc::from(self.node_name.as_str()),
            client,
            wanted: self.desired_status == "run",
            tasks,
            ports: self.ports(shape),
            created: self.create_index,
        })
    }

    fn ports(&self, shape: Option<&Shape>) -> Vec<Port> {
        let mut ports: Vec<Port> = Vec::new();
        let mut add = |mapping: &Mapping, ip: &str, task: Option<Arc<str>>| {
            let (Ok(ip), Ok(number)) = (ip.parse::<IpAddr>(), u16::try_from(mapping.value)) else {
                return;
            };
            let address = SocketAddr::new(ip, number);
            if ports.iter().any(|port| port.address == address) {
                return;
            }
            let said = shape.and_then(|shape| {
                shape
                    .task_of_port
                    .get(&mapping.label)
                    .or(shape.only_task.as_ref())
                    .map(Arc::clone)
            });
            ports.push(Port {
                label: Arc::from(mapping.label.as_str()),
                address,
                task: task.or(said),
                registered_by_nomad: shape.map(|shape| shape.registered.contains(&mapping.label)),
            });
        };
        let Some(resources) = &self.allocated_resources else {
            return ports;
        };
        for mapping in resources
            .shared
            .iter()
            .filter_map(|shared| shared.ports.as_ref())
            .flatten()
        {
            add(mapping, &mapping.host_ip, None);
        }
        for (task, networks) in resources.tasks.iter().flatten() {
            for network in networks.networks.iter().flatten() {
                for mapping in network
                    .reserved_ports
                    .iter()
                    .chain(&network.dynamic_ports)
                    .flatten()
                {
                    add(mapping, &network.ip, Some(Arc::from(task.as_str())));
                }
            }
        }
        ports
    }
}

fn task((name, state): (&String, &State)) -> Task {
    let started = state.started_at.as_deref();
    let started = started.filter(|at| !at.is_empty() && !at.starts_with("0001-"));
    let state = match state.state.as_str() {
        "running" => TaskState::Running,
        "dead" => TaskState::Dead,
        _ => TaskState::Pending,
    };
    Task {
        name: Arc::from(name.as_str()),
        state,
        started: started.map(Arc::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Nomad 1.6 answers, shortened.
    const STUB: &str = r#"{"ID":"0f6b3d3e-6f0e-7d3c-1f2a-6f2a0c7f0b11","Namespace":"default","NodeID":"n1",
      "NodeName":"node1","JobID":"web","JobVersion":2,"TaskGroup":"web","DesiredStatus":"run","ClientStatus":"running",
      "AllocatedResources":{"Tasks":{"www":{"Networks":null}},
        "Shared":{"Ports":[{"Label":"http","Value":20000,"To":80,"HostIP":"198.18.0.11"}]}},
      "TaskStates":{"www":{"State":"pending","StartedAt":"2026-11-24T20:00:00Z"},
                    "log":{"State":"running","StartedAt":null}},"CreateIndex":7}"#;

    const JOB: &str = r#"{"Job":{"TaskGroups":[{"Name":"web","Services":[{"PortLabel":"metrics","Provider":"nomad"}],
      "Tasks":[{"Name":"www","Config":{"ports":["http"]},"Services":[{"PortLabel":"http","Provider":"consul"}]},
               {"Name":"log","Config":{},"Services":null}]}]}}"#;

    #[test]
    fn a_stub_and_its_job_become_an_allocation() {
        let stub: Stub = serde_json::from_str(STUB).unwrap();
        let shapes = shapes(&serde_json::from_str(JOB).unwrap());
        let allocation = stub.allocation(shapes.get("web")).unwrap();
        let port = &allocation.ports[0];
        assert_eq!(port.address, "198.18.0.11:20000".parse().unwrap());
        assert_eq!(port.task.as_deref(), Some("www"));
        assert_eq!(port.registered_by_nomad, Some(true));
        assert_eq!(
            allocation.phase(port.address),
            crate::model::fleet::Phase::Restarting
        );
        assert!(
            !shapes["web"].registered.contains("metrics"),
            "Nomad's own catalogue is not Consul"
        );
    }
}
