//! Where instances are behind their host ports: the containers' own addresses, as the node's drivers say.
//!
//! Kept in a file below `/run`, which a restart of the syncer outlives and one of the machine does not. What is not known costs the
//! client's address in the server's log, for packets then take the way of the engine's published port. Noting is quick, for it is done on
//! the way of a hint; writing is the role's business.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// What is known of each task.
pub(super) type Tasks = BTreeMap<String, Places>;

/// A task's ports, and the process that serves them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Places {
    /// Host address, and the container's own.
    pub(super) ports: Vec<(SocketAddr, SocketAddr)>,
    /// `None`: its driver did not say which.
    pub(super) process: Option<Process>,
}

/// A container's first process: its id, and when it was started, by which it is told from a later one of the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    pid: i32,
    /// Ticks after the machine's start.
    started: u64,
}

impl Process {
    /// `None`: there is none of that id.
    fn of(pid: i32) -> Option<Self> {
        let started = started(pid)?;
        Some(Self { pid, started })
    }

    pub(super) fn lives(&self) -> bool {
        started(self.pid) == Some(self.started)
    }
}

fn started(pid: i32) -> Option<u64> {
    let process = procfs::process::Process::new(pid).ok()?;
    Some(process.stat().ok()?.starttime)
}

/// All that is known; clones share it.
#[derive(Debug, Clone)]
pub struct Containers(watch::Sender<Arc<Tasks>>);

impl Default for Containers {
    fn default() -> Self {
        Self(watch::Sender::new(Arc::default()))
    }
}

impl Containers {
    /// With what an earlier process wrote into that file; nothing where it can't be read.
    pub(super) fn read(&self, file: &Path) {
        let bytes = std::fs::read(file).ok();
        let tasks = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        self.0.send_replace(Arc::new(tasks.unwrap_or_default()));
    }

    /// A task runs with these ports: host address, and the container's own. `pid` is that of its first process.
    pub fn note(
        &self,
        alloc: &str,
        task: &str,
        ports: Vec<(SocketAddr, SocketAddr)>,
        pid: Option<i32>,
    ) {
        let process = pid.and_then(Process::of);
        self.0.send_modify(|tasks| {
            let tasks = Arc::make_mut(tasks);
            // Whoever had a port before has ended, though nobody was there to hear it.
            let is_taken = |host: &SocketAddr| ports.iter().any(|(other, _)| other == host);
            for places in tasks.values_mut() {
                places.ports.retain(|(host, _)| !is_taken(host));
            }
            tasks.retain(|_, places| !places.ports.is_empty());
            tasks.insert(key(alloc, task), Places { ports, process });
        });
    }

    /// A task has ended.
    pub fn forget(&self, alloc: &str, task: &str) {
        let key = key(alloc, task);
        self.0.send_if_modified(|tasks| {
            let known = tasks.contains_key(&key);
            if known {
                Arc::make_mut(tasks).remove(&key);
            }
            known
        });
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<Tasks>> {
        self.0.subscribe()
    }
}

fn key(alloc: &str, task: &str) -> String {
    format!("{alloc}/{task}")
}

/// The containers' own addresses, by host address.
pub(super) fn places(tasks: &Tasks) -> BTreeMap<SocketAddr, SocketAddr> {
    let ports = tasks.values().flat_map(|places| &places.ports);
    ports.copied().collect()
}

/// The ports of tasks that are not as they were: host addresses, and the containers' own.
pub(super) fn new_ports(before: &Tasks, now: &Tasks) -> Vec<(SocketAddr, SocketAddr)> {
    let is_new = |(task, places): &(&String, &Places)| before.get(*task) != Some(*places);
    let new = now.iter().filter(is_new);
    new.flat_map(|(_, places)| places.ports.iter().copied())
        .collect()
}

/// Replaces the file.
pub(super) async fn write(file: &Path, tasks: &Tasks) -> io::Result<()> {
    let new = file.with_extension("new");
    tokio::fs::write(&new, serde_json::to_vec(tasks)?).await?;
    tokio::fs::rename(new, file).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(containers: &Containers) -> Vec<(SocketAddr, SocketAddr)> {
        let tasks = Arc::clone(&containers.subscribe().borrow());
        places(&tasks).into_iter().collect()
    }

    #[tokio::test]
    async fn what_was_noted_is_there_after_a_restart_until_the_task_ends() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("containers.json");
        let at = |text: &str| -> SocketAddr { text.parse().unwrap() };
        let (host, own) = (at("198.18.0.11:20000"), at("172.17.0.2:8001"));
        let containers = Containers::default();
        containers.note("a", "web", vec![(host, own)], None);
        let tasks = Arc::clone(&containers.subscribe().borrow());
        write(&file, &tasks).await.unwrap();
        let again = Containers::default();
        again.read(&file);
        again.forget("a", "other");
        assert_eq!(known(&again), [(host, own)]);
        again.forget("a", "web");
        assert_eq!(known(&again), []);
        std::fs::write(&file, b"{").unwrap();
        again.read(&file);
        assert_eq!(known(&again), []);
    }

    #[test]
    fn new_are_the_ports_of_a_task_that_came_or_began_anew_in_another_process() {
        let at = |text: &str| -> SocketAddr { text.parse().unwrap() };
        let ports = |own| vec![(at("198.18.0.11:20000"), at(own))];
        let containers = Containers::default();
        let tasks = || Arc::clone(&containers.subscribe().borrow());
        let nobody = tasks();
        containers.note("a", "web", ports("172.17.0.2:7"), None);
        let first = tasks();
        assert_eq!(new_ports(&nobody, &first), ports("172.17.0.2:7"));
        assert_eq!(new_ports(&first, &first), []);
        let pid = i32::try_from(std::process::id()).unwrap();
        containers.note("a", "web", ports("172.17.0.2:7"), Some(pid));
        assert_eq!(new_ports(&first, &tasks()), ports("172.17.0.2:7"));
        containers.forget("a", "web");
        assert_eq!(new_ports(&first, &tasks()), []);
    }

    #[test]
    fn a_port_is_whose_that_said_so_last_though_nobody_heard_the_end_of_the_other() {
        let at = |text: &str| -> SocketAddr { text.parse().unwrap() };
        let (host, next) = (at("198.18.0.11:20000"), at("172.17.0.3:8001"));
        let containers = Containers::default();
        containers.note("z", "web", vec![(host, at("172.17.0.2:8001"))], None);
        containers.note("a", "web", vec![(host, next)], None);
        assert_eq!(known(&containers), [(host, next)]);
        containers.forget("z", "web");
        assert_eq!(known(&containers), [(host, next)]);
    }
}
