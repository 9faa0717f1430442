//! Nomad's view: allocations, their tasks and their host ports. Pure.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::model::{AllocId, LeftOut};

/// `ClientStatus` of an allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientStatus {
    Pending,
    Running,
    Complete,
    Failed,
    /// Nomad lost the client and has given the allocation up.
    Lost,
    /// The client is disconnected; the allocation may still run.
    Unknown,
}

/// State of one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaskState {
    Pending,
    Running,
    Dead,
}

/// One task of an allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    pub name: Arc<str>,
    pub state: TaskState,
    /// When it started last, as Nomad writes it: a pending task that has been running is *restarting*. Two starts have
    /// two texts; whose clock wrote them does not matter.
    pub started: Option<Arc<str>>,
}

/// A port on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    pub label: Arc<str>,
    pub address: SocketAddr,
    /// The task that serves it, where the job says so or there is only one.
    pub task: Option<Arc<str>>,
    /// Whether a `service` block of the job registers it in Consul; `None` where the job is not known.
    pub registered_by_nomad: Option<bool>,
}

/// One allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocation {
    pub id: AllocId,
    pub namespace: Arc<str>,
    pub job: Arc<str>,
    pub group: Arc<str>,
    pub node_id: Arc<str>,
    pub node_name: Arc<str>,
    pub client: ClientStatus,
    /// `DesiredStatus` is `run`.
    pub wanted: bool,
    pub tasks: Vec<Task>,
    pub ports: Vec<Port>,
    /// Order of creation, to tell the newer of two that had the same port.
    pub created: u64,
}

/// What an allocation's port is doing, all things considered: the left column of the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Not started yet, or the port's own task is not.
    Pending,
    /// The port's own task ran before and does not now, while the allocation goes on.
    Restarting,
    Running,
    Stopping,
    Complete,
    Failed,
    Lost,
    Unknown,
}

impl Phase {
    /// Whether nothing can serve any more and nothing will.
    pub fn over(self) -> bool {
        matches!(self, Self::Complete | Self::Failed)
    }
}

impl Allocation {
    /// The phase of the port at `address`; of the whole allocation where it has no such port.
    pub fn phase(&self, address: SocketAddr) -> Phase {
        match self.client {
            ClientStatus::Complete => Phase::Complete,
            ClientStatus::Failed => Phase::Failed,
            ClientStatus::Lost => Phase::Lost,
            ClientStatus::Unknown => Phase::Unknown,
            ClientStatus::Pending | ClientStatus::Running if !self.wanted => Phase::Stopping,
            ClientStatus::Pending => Phase::Pending,
            ClientStatus::Running => self.running_phase(address),
        }
    }

    /// Whether the port is that task's. One of several tasks does not speak for a port that nobody is known to serve: a
    /// prestart task that has ended says nothing about the server beside it.
    pub fn serves(&self, task: &str, port: &Port) -> bool {
        match (&port.task, self.tasks.as_slice()) {
            (Some(own), _) => **own == *task,
            (None, [only]) => *only.name == *task,
            (None, _) => false,
        }
    }

    fn of_group(&self) -> Group {
        let Self {
            namespace,
            job,
            group,
            ..
        } = self;
        (Arc::clone(namespace), Arc::clone(job), Arc::clone(group))
    }

    fn running_phase(&self, address: SocketAddr) -> Phase {
        let port = self.ports.iter().find(|port| port.address == address);
        let own = port.and_then(|port| port.task.as_ref());
        let Some(task) = own.and_then(|own| self.tasks.iter().find(|task| task.name == *own))
        else {
            return Phase::Running;
        };
        match task.state {
            TaskState::Running => Phase::Running,
            TaskState::Pending if task.started.is_none() => Phase::Pending,
            TaskState::Pending | TaskState::Dead => Phase::Restarting,
        }
    }
}

/// What Nomad calls a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    pub name: Arc<str>,
    pub id: Arc<str>,
}

/// Namespace, job and group.
type Group = (Arc<str>, Arc<str>, Arc<str>);

/// All allocations that Nomad lists.
#[derive(Debug, Clone, Default)]
pub struct Fleet {
    by_id: HashMap<AllocId, Allocation, BuildHasherDefault<IdHasher>>,
    /// The phase of each allocation's first port, close together: a large pass asks for all of them.
    phases: HashMap<AllocId, (SocketAddr, Phase), BuildHasherDefault<IdHasher>>,
    claims: HashMap<SocketAddr, AllocId>,
    /// Allocations that are wanted and not over, by group.
    wanted: HashMap<Group, Vec<AllocId>>,
    /// Addresses of hosts where ports are.
    hosts: BTreeMap<IpAddr, Host>,
    /// Of Nomad's list, what can't be used: Consul alone decides about it.
    pub left_out: Vec<LeftOut>,
}

impl Fleet {
    /// Of one address that several allocations had, a live one has it, else the newest.
    pub fn new(allocations: impl IntoIterator<Item = Allocation>) -> Self {
        let mut fleet = Self::default();
        for allocation in allocations {
            if fleet.by_id.contains_key(&allocation.id) {
                fleet.left_out.push(LeftOut {
                    what: format!("allocation {}", allocation.id),
                    reason: "its id is there twice; the first one holds".to_owned(),
                });
                continue;
            }
            for port in &allocation.ports {
                let host = fleet.hosts.entry(port.address.ip());
                host.or_insert_with(|| Host {
                    name: Arc::clone(&allocation.node_name),
                    id: Arc::clone(&allocation.node_id),
                });
                let rank = |a: &Allocation| {
                    (
                        !a.phase(port.address).over() && a.client != ClientStatus::Lost,
                        a.created,
                        // Two of one evaluation: whoever it is, it does not depend on the order of the list.
                        a.id,
                    )
                };
                let holder = fleet
                    .claims
                    .get(&port.address)
                    .and_then(|id| fleet.by_id.get(id));
                if holder.is_none_or(|holder| rank(holder) < rank(&allocation)) {
                    fleet.claims.insert(port.address, allocation.id);
                }
            }
            if allocation.wanted
                && matches!(
                    allocation.client,
                    ClientStatus::Pending | ClientStatus::Running
                )
            {
                let alive = fleet.wanted.entry(allocation.of_group()).or_default();
                alive.push(allocation.id);
            }
            if let Some(port) = allocation.ports.first() {
                let phase = allocation.phase(port.address);
                fleet.phases.insert(allocation.id, (port.address, phase));
            }
            fleet.by_id.insert(allocation.id, allocation);
        }
        fleet
    }

    /// The allocation of that id.
    pub fn get(&self, id: AllocId) -> Option<&Allocation> {
        self.by_id.get(&id)
    }

    /// The phase of an allocation's port; `None` if Nomad does not know the allocation.
    pub fn phase(&self, id: AllocId, address: SocketAddr) -> Option<Phase> {
        match self.phases.get(&id) {
            Some((first, phase)) if *first == address => Some(*phase),
            _ => self.get(id).map(|allocation| allocation.phase(address)),
        }
    }

    /// The allocation that has, or had last, this host port.
    pub fn at(&self, address: SocketAddr) -> Option<&Allocation> {
        self.get(*self.claims.get(&address)?)
    }

    /// Addresses of the hosts where allocations have ports, in order.
    pub fn hosts(&self) -> impl Iterator<Item = (IpAddr, &Host)> {
        self.hosts.iter().map(|(ip, host)| (*ip, host))
    }

    /// Whose that address is, if an allocation has a port there.
    pub fn host(&self, address: IpAddr) -> Option<&Host> {
        self.hosts.get(&address)
    }

    /// Whether another allocation of the same group is wanted and alive, or about to be.
    pub fn has_successor(&self, leaving: &Allocation) -> bool {
        self.wanted
            .get(&leaving.of_group())
            .is_some_and(|alive| alive.iter().any(|id| *id != leaving.id))
    }

    /// All, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Allocation> {
        self.by_id.values()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

/// Allocation ids are random: folding them is hash enough.
#[derive(Debug, Clone, Copy, Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, id: u128) {
        let [low, high] = [id, id >> 64]
            .map(|half| u64::try_from(half & u128::from(u64::MAX)).unwrap_or_default());
        self.0 ^= low ^ high.rotate_left(32);
    }
}

#[cfg(test)]
mod tests;
