//! What should be registered on a node, and the steps from what is. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;

use crate::model::AllocId;
use crate::model::fleet::{Fleet, Phase};

/// Every id of ours starts with it. Nomad's client removes what it does not know under its own `_nomad-task-`.
pub const PREFIX: &str = "nomad-ipvs-";

/// One registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// `nomad-ipvs-<alloc>-<task or group>-<label>`.
    pub id: String,
    /// `<job>-<group>-<label>`.
    pub name: String,
    pub address: SocketAddr,
    pub alloc: AllocId,
}

/// A registration as the agent has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    pub name: String,
    pub address: String,
    pub port: i64,
}

/// One thing to do at the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Register(Registration),
    Deregister(String),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Register(one) => write!(f, "register {} {} as {}", one.name, one.address, one.id),
            Self::Deregister(id) => write!(f, "deregister {id}"),
        }
    }
}

/// Ports of running, wanted allocations of `node` (its name or id) that no `service` block registers. `there` are the
/// ids at the agent: what Nomad registered under any name for the same allocation and label is not done twice.
pub fn wanted<'a>(
    fleet: &Fleet,
    node: &str,
    there: impl Iterator<Item = &'a str>,
) -> Vec<Registration> {
    let nomads: BTreeSet<&str> = there
        .filter_map(|id| id.strip_prefix("_nomad-task-"))
        .collect();
    let mut wanted = Vec::new();
    for alloc in fleet
        .iter()
        .filter(|alloc| *alloc.node_id == *node || *alloc.node_name == *node)
    {
        for port in &alloc.ports {
            let (id, label) = (alloc.id.to_string(), &port.label);
            let mut of_alloc = nomads
                .range(id.as_str()..)
                .take_while(|other| other.starts_with(&id));
            let nomad_did = of_alloc.any(|other| other.ends_with(&format!("-{label}")));
            if port.registered_by_nomad || nomad_did || alloc.phase(port.address) != Phase::Running
            {
                continue;
            }
            let owner = match &port.task {
                Some(task) => task.to_string(),
                None => format!("group-{}", alloc.group),
            };
            wanted.push(Registration {
                id: format!("{PREFIX}{id}-{owner}-{label}"),
                name: plain(&format!("{}-{}-{label}", alloc.job, alloc.group)),
                address: port.address,
                alloc: alloc.id,
            });
        }
    }
    wanted.sort_by(|a, b| a.id.cmp(&b.id));
    wanted
}

/// Only letters, digits and dashes: the name is also a DNS label.
fn plain(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect()
}

/// From what the agent has to what it should have. Only what has our prefix is ever removed.
pub fn steps(wanted: &[Registration], there: &BTreeMap<String, Registered>) -> Vec<Step> {
    let same = |one: &Registration| {
        there.get(&one.id).is_some_and(|other| {
            other.name == one.name
                && other.address == one.address.ip().to_string()
                && other.port == i64::from(one.address.port())
        })
    };
    let known: BTreeSet<&str> = wanted.iter().map(|one| one.id.as_str()).collect();
    let register = wanted
        .iter()
        .filter(|one| !same(one))
        .cloned()
        .map(Step::Register);
    let stale = there
        .keys()
        .filter(|id| id.starts_with(PREFIX) && !known.contains(id.as_str()));
    register
        .chain(stale.cloned().map(Step::Deregister))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fleet::{Allocation, ClientStatus, Port, Task, TaskState};

    fn allocation(id: u128) -> Allocation {
        Allocation {
            id: AllocId(id),
            job: "my.job".into(),
            group: "web".into(),
            node_id: "n1".into(),
            node_name: "node1".into(),
            client: ClientStatus::Running,
            wanted: true,
            tasks: vec![Task {
                name: "www".into(),
                state: TaskState::Running,
                started: true,
            }],
            ports: vec![Port {
                label: "http".into(),
                address: "198.18.0.11:20000".parse().unwrap(),
                task: Some("www".into()),
                registered_by_nomad: false,
            }],
            created: 1,
        }
    }

    fn wanted_of(alloc: Allocation, there: &[&str]) -> Vec<Registration> {
        wanted(&Fleet::new([alloc]), "node1", there.iter().copied())
    }

    #[test]
    fn a_running_port_that_nobody_registers_is_ours_to_register() {
        let found = wanted_of(allocation(1), &[]);
        assert_eq!(
            found[0].id,
            "nomad-ipvs-00000000-0000-0000-0000-000000000001-www-http"
        );
        assert_eq!(found[0].name, "my-job-web-http");
        assert_eq!(
            wanted(&Fleet::new([allocation(1)]), "n1", [].into_iter()).len(),
            1
        );
        assert!(wanted(&Fleet::new([allocation(1)]), "node2", [].into_iter()).is_empty());
    }

    #[test]
    fn what_nomad_registers_or_has_registered_is_not_done_twice() {
        let mut declared = allocation(1);
        declared.ports[0].registered_by_nomad = true;
        assert!(wanted_of(declared, &[]).is_empty());
        let id = "_nomad-task-00000000-0000-0000-0000-000000000001-group-web-www-http";
        assert!(wanted_of(allocation(1), &[id]).is_empty());
        let other = "_nomad-task-00000000-0000-0000-0000-000000000002-group-web-www-http";
        assert_eq!(wanted_of(allocation(1), &[other]).len(), 1);
    }

    #[test]
    fn whatever_does_not_run_or_is_to_stop_is_not_registered() {
        for client in [
            ClientStatus::Pending,
            ClientStatus::Complete,
            ClientStatus::Lost,
        ] {
            assert!(
                wanted_of(
                    Allocation {
                        client,
                        ..allocation(1)
                    },
                    &[]
                )
                .is_empty()
            );
        }
        assert!(
            wanted_of(
                Allocation {
                    wanted: false,
                    ..allocation(1)
                },
                &[]
            )
            .is_empty()
        );
        let mut restarting = allocation(1);
        restarting.tasks[0].state = TaskState::Pending;
        assert!(wanted_of(restarting, &[]).is_empty());
    }

    #[test]
    fn leftovers_of_ours_go_and_others_stay() {
        let wanted = wanted_of(allocation(1), &[]);
        let one = |name: &str, port| Registered {
            name: name.into(),
            address: "198.18.0.11".into(),
            port,
        };
        let mut there = BTreeMap::from([
            (wanted[0].id.clone(), one("my-job-web-http", 20000)),
            ("nomad-ipvs-old".to_owned(), one("old", 1)),
            ("theirs".to_owned(), one("theirs", 2)),
        ]);
        assert_eq!(
            steps(&wanted, &there),
            [Step::Deregister("nomad-ipvs-old".into())]
        );
        there.insert(wanted[0].id.clone(), one("my-job-web-http", 20001));
        assert_eq!(steps(&wanted, &there)[0], Step::Register(wanted[0].clone()));
    }
}
