//! Nomad's JSON, and from it our words. Only the fields that we use.
//!
//! What an odd field costs: an allocation without an id is left out, a port without a usable address is, a task whose
//! state can't be read does as its allocation does. All of it is named, and none of it stops its neighbours.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use syncer_core::model::fleet::{Allocation, ClientStatus, Port, Task, TaskState};
use syncer_core::model::{AllocId, LeftOut};

use super::lenient::{Clamped, Field};

/// One entry of `/v1/allocations?resources=true`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Stub {
    #[serde(rename = "ID")]
    id: Field<String>,
    namespace: Field<String>,
    #[serde(rename = "NodeID")]
    node_id: Field<String>,
    node_name: Field<String>,
    #[serde(rename = "JobID")]
    job: Field<String>,
    job_version: Field<Clamped>,
    task_group: Field<String>,
    allocated_resources: Field<Resources>,
    desired_status: Field<String>,
    client_status: Field<String>,
    task_states: Field<HashMap<String, Field<TaskEntry>>>,
    create_index: Field<Clamped>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Resources {
    shared: Field<Shared>,
    tasks: Field<HashMap<String, Field<TaskResources>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Shared {
    ports: Field<Vec<Field<Mapping>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct TaskResources {
    networks: Field<Vec<Field<Network>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Network {
    #[serde(rename = "IP")]
    ip: Field<String>,
    reserved_ports: Field<Vec<Field<Mapping>>>,
    dynamic_ports: Field<Vec<Field<Mapping>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Mapping {
    label: Field<String>,
    value: Field<Clamped>,
    #[serde(rename = "HostIP")]
    host_ip: Field<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct TaskEntry {
    state: Field<String>,
    started_at: Field<String>,
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
    /// Its id, as Nomad writes it.
    pub(super) fn id(&self) -> &str {
        self.id.text()
    }

    /// Its namespace, job and the job's version.
    pub(super) fn job(&self) -> (String, String, i64) {
        let version = self.job_version.value().map_or(0, |version| version.0);
        let (namespace, job) = (self.namespace.text(), self.job.text());
        (namespace.to_owned(), job.to_owned(), version)
    }

    /// Its task group.
    pub(super) fn group(&self) -> &str {
        self.task_group.text()
    }

    /// Whether the allocation may still serve: the source asks for the job's shape only for these.
    pub(super) fn is_alive(&self) -> bool {
        matches!(
            self.client(),
            ClientStatus::Pending | ClientStatus::Running | ClientStatus::Unknown
        )
    }

    /// A status that we don't know is as good as one that Nomad does not know.
    fn client(&self) -> ClientStatus {
        match self.client_status.text() {
            "pending" => ClientStatus::Pending,
            "running" => ClientStatus::Running,
            "complete" => ClientStatus::Complete,
            "failed" => ClientStatus::Failed,
            "lost" => ClientStatus::Lost,
            _ => ClientStatus::Unknown,
        }
    }

    /// Gives the allocation in our words; `None` if nobody can say which one it is. What is odd about it goes to
    /// `left_out`.
    pub(super) fn allocation(
        &self,
        shape: Option<&Shape>,
        left_out: &mut Vec<LeftOut>,
    ) -> Option<Allocation> {
        let job = self.job.text();
        let mut odd = |what: String, reason: &str| {
            let reason = reason.to_owned();
            left_out.push(LeftOut { what, reason });
        };
        let Ok(id) = self.id().parse::<AllocId>() else {
            odd(
                format!("an allocation of job {job:?}"),
                "its id is not an allocation's id",
            );
            return None;
        };
        let client = self.client();
        if client == ClientStatus::Unknown && self.client_status.text() != "unknown" {
            odd(
                format!("the status of allocation {id}"),
                "it is none that is known; Consul alone decides",
            );
        }
        let (mut tasks, mut created) = (Vec::new(), 0);
        for (name, state) in self.task_states.value().into_iter().flatten() {
            let task = task(name, state.value());
            if task.is_none() {
                odd(
                    format!("task {name} of allocation {id}"),
                    "its state can't be read; it is taken for running",
                );
            }
            tasks.push(task.unwrap_or_else(|| Task {
                name: Arc::from(name.as_str()),
                state: TaskState::Running,
                started: None,
            }));
        }
        tasks.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(Clamped(index)) = self.create_index.value() {
            created = u64::try_from(*index).unwrap_or_default();
        }
        Some(Allocation {
            id,
            namespace: Arc::from(self.namespace.text()),
            job: Arc::from(job),
            group: Arc::from(self.group()),
            node_id: Arc::from(self.node_id.text()),
            node_name: Arc::from(self.node_name.text()),
            client,
            wanted: !matches!(self.desired_status.text(), "stop" | "evict"),
            tasks,
            ports: self.ports(shape, |label| {
                odd(
                    format!("port {label} of allocation {id}"),
                    "it has no usable IP address and number",
                );
            }),
            created,
        })
    }

    fn ports(&self, shape: Option<&Shape>, mut odd: impl FnMut(&str)) -> Vec<Port> {
        let mut ports: Vec<Port> = Vec::new();
        let mut add = |mapping: &Field<Mapping>, network: Option<&str>, task: Option<&str>| {
            let no_mapping = Mapping::default();
            let mapping = mapping.value().unwrap_or(&no_mapping);
            let (label, ip) = (
                mapping.label.text(),
                network.unwrap_or(mapping.host_ip.text()),
            );
            let Some(address) = address(ip, &mapping.value) else {
                odd(label);
                return;
            };
            if ports.iter().any(|port| port.address == address) {
                return;
            }
            let serving = shape.and_then(|shape| {
                let named = shape.task_of_port.get(label);
                named.or(shape.only_task.as_ref()).map(Arc::clone)
            });
            ports.push(Port {
                label: Arc::from(label),
                address,
                task: task.map(Arc::from).or(serving),
                registered_by_nomad: shape.map(|shape| shape.registered.contains(label)),
            });
        };
        let Some(resources) = self.allocated_resources.value() else {
            return ports;
        };
        let shared = resources
            .shared
            .value()
            .and_then(|shared| shared.ports.value());
        for mapping in shared.into_iter().flatten() {
            add(mapping, None, None);
        }
        for (task, resources) in resources.tasks.value().into_iter().flatten() {
            let networks = resources
                .value()
                .map(|resources| resources.networks.values());
            for network in networks.into_iter().flatten() {
                for list in [&network.reserved_ports, &network.dynamic_ports] {
                    for mapping in list.value().into_iter().flatten() {
                        add(mapping, Some(network.ip.text()), Some(task));
                    }
                }
            }
        }
        ports
    }
}

fn address(ip: &str, number: &Field<Clamped>) -> Option<SocketAddr> {
    let number = u16::try_from(number.value()?.0).ok()?;
    let ip: IpAddr = ip.parse().ok()?;
    (number != 0).then(|| SocketAddr::new(ip, number))
}

/// `None` if its state can't be read.
fn task(name: &str, state: Option<&TaskEntry>) -> Option<Task> {
    let state = state?;
    let started = state.started_at.text();
    let started =
        (!started.is_empty() && !started.starts_with("0001-")).then(|| Arc::from(started));
    let state = match state.state.text() {
        "running" => TaskState::Running,
        "dead" => TaskState::Dead,
        "pending" => TaskState::Pending,
        _ => return None,
    };
    Some(Task {
        name: Arc::from(name),
        state,
        started,
    })
}

#[cfg(test)]
mod tests;
