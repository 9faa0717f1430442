//! Where instances are behind their host ports: the containers' own addresses, as the node's drivers say.
//!
//! Kept in a file below `/run`, which a restart of the syncer outlives and one of the machine does not. What is not known costs the
//! client's address in the server's log, for packets then take the way of the engine's published port.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::warn;

const FILE: &str = "containers.json";

/// All that is known; clones share it.
#[derive(Debug, Clone)]
pub struct Containers {
    file: Option<Arc<Path>>,
    tasks: Arc<std::sync::Mutex<BTreeMap<String, Task>>>,
    published: watch::Sender<BTreeMap<SocketAddr, SocketAddr>>,
}

/// A task's ports: host address, and the container's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Task {
    ports: Vec<(SocketAddr, SocketAddr)>,
}

impl Default for Containers {
    fn default() -> Self {
        Self {
            file: None,
            tasks: Arc::default(),
            published: watch::Sender::new(BTreeMap::new()),
        }
    }
}

impl Containers {
    /// What an earlier process wrote into that folder, and each change from now on.
    pub fn open(folder: &Path) -> Self {
        let file: PathBuf = folder.join(FILE);
        let known = std::fs::read(&file).ok();
        let tasks: BTreeMap<String, Task> = known
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        let containers = Self {
            file: Some(file.into()),
            tasks: Arc::new(std::sync::Mutex::new(tasks)),
            ..Self::default()
        };
        containers.change(|_| {});
        containers
    }

    /// A task runs with these ports: host address, and the container's own.
    pub fn note(&self, alloc: &str, task: &str, ports: Vec<(SocketAddr, SocketAddr)>) {
        self.change(|tasks| {
            tasks.insert(key(alloc, task), Task { ports });
        });
    }

    /// A task has ended.
    pub fn forget(&self, alloc: &str, task: &str) {
        self.change(|tasks| {
            tasks.remove(&key(alloc, task));
        });
    }

    /// By host address.
    pub fn subscribe(&self) -> watch::Receiver<BTreeMap<SocketAddr, SocketAddr>> {
        self.published.subscribe()
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, Task>)) {
        let mut tasks = self
            .tasks
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let before = tasks.clone();
        change(&mut tasks);
        if *tasks != before
            && let Some(file) = &self.file
            && let Err(error) = write(file, &tasks)
        {
            warn!(file = %file.display(), %error, "containers' addresses are not written down");
        }
        let ports = tasks.values().flat_map(|task| task.ports.iter().copied());
        self.published.send_replace(ports.collect());
    }
}

fn key(alloc: &str, task: &str) -> String {
    format!("{alloc}/{task}")
}

fn write(file: &Path, tasks: &BTreeMap<String, Task>) -> std::io::Result<()> {
    let new = file.with_extension("new");
    std::fs::write(&new, serde_json::to_vec(tasks)?)?;
    std::fs::rename(new, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_there_after_a_restart_until_the_task_ends() {
        let folder = tempfile::tempdir().unwrap();
        let at = |text: &str| -> SocketAddr { text.parse().unwrap() };
        let (host, own) = (at("198.18.0.11:20000"), at("172.17.0.2:8001"));
        let containers = Containers::open(folder.path());
        containers.note("a", "web", vec![(host, own)]);
        let again = Containers::open(folder.path());
        assert_eq!(again.subscribe().borrow().get(&host), Some(&own));
        again.forget("a", "other");
        assert_eq!(again.subscribe().borrow().len(), 1);
        again.forget("a", "web");
        assert!(again.subscribe().borrow().is_empty());
        std::fs::write(folder.path().join(FILE), b"{").unwrap();
        assert!(
            Containers::open(folder.path())
                .subscribe()
                .borrow()
                .is_empty()
        );
    }
}
