//! What a director remembers on disk: the last applied table, open drains, and which addresses it added.
//!
//! Files are replaced by rename, so a crash leaves the old or the new one. Writing happens behind the pass, never in
//! its way: of several states in a row only the newest is written. A file that can't be read counts as none, said
//! loudly: the kernel's own table is still there.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{error, warn};

use crate::desired::SavedService;
use crate::plan::Drains;

const TABLE: &str = "table.json";
const DRAINS: &str = "drains.json";

/// What is remembered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    pub services: Arc<Vec<SavedService>>,
    pub drains: Drains,
    pub addresses: BTreeSet<IpAddr>,
}

#[derive(Serialize, Deserialize)]
struct Small {
    drains: Drains,
    addresses: BTreeSet<IpAddr>,
}

/// The state directory can't be used.
#[derive(Debug, thiserror::Error)]
#[error("state directory {}: {doing}", path.display())]
pub struct StoreError {
    path: PathBuf,
    doing: &'static str,
    source: io::Error,
}

/// Writes behind.
#[derive(Debug)]
pub struct Store {
    newest: watch::Sender<Memory>,
    writer: JoinHandle<()>,
}

impl Store {
    /// Reads what there is and starts to write behind.
    pub fn open(dir: &Path) -> Result<(Self, Memory), StoreError> {
        let failed = |doing| {
            move |source| StoreError {
                path: dir.to_owned(),
                doing,
                source,
            }
        };
        std::fs::create_dir_all(dir).map_err(failed("create it"))?;
        let probe = dir.join(".writable");
        std::fs::write(&probe, b"")
            .and_then(|()| std::fs::remove_file(&probe))
            .map_err(failed("write into it"))?;
        let small: Option<Small> = read(&dir.join(DRAINS));
        let (drains, addresses) = small
            .map(|small| (small.drains, small.addresses))
            .unwrap_or_default();
        let services = Arc::new(read(&dir.join(TABLE)).unwrap_or_default());
        let memory = Memory {
            services,
            drains,
            addresses,
        };
        let (newest, mut changes) = watch::channel(memory.clone());
        let (dir, mut written) = (dir.to_owned(), memory.clone());
        let writer = tokio::spawn(async move {
            while changes.changed().await.is_ok() {
                let (dir, next) = (dir.clone(), changes.borrow_and_update().clone());
                let before = std::mem::replace(&mut written, next.clone());
                // A writer that panicked would have nothing to say; the next change tries again.
                let _ = tokio::task::spawn_blocking(move || write(&dir, &before, &next)).await;
            }
        });
        Ok((Self { newest, writer }, memory))
    }

    /// Remembers that; soon.
    pub fn remember(&self, memory: Memory) {
        self.newest.send_if_modified(|there| {
            let differs = *there != memory;
            if differs {
                *there = memory;
            }
            differs
        });
    }

    /// Waits until everything is written.
    pub async fn close(self) {
        drop(self.newest);
        let _ = self.writer.await;
    }
}

fn write(dir: &Path, before: &Memory, next: &Memory) {
    let small = |memory: &Memory| Small {
        drains: memory.drains.clone(),
        addresses: memory.addresses.clone(),
    };
    if before.drains != next.drains || before.addresses != next.addresses {
        replace(&dir.join(DRAINS), &small(next));
    }
    if before.services != next.services {
        replace(&dir.join(TABLE), &*next.services);
    }
}

fn replace(path: &Path, value: &impl Serialize) {
    let write = || -> io::Result<()> {
        let new = path.with_extension("new");
        std::fs::write(&new, serde_json::to_vec(value)?)?;
        std::fs::File::open(&new)?.sync_all()?;
        std::fs::rename(&new, path)
    };
    if let Err(error) = write() {
        error!(path = %path.display(), %error, "state is not on disk; after a restart it will be missing");
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            warn!(path = %path.display(), %error, "state on disk cannot be read; going on without it");
            return None;
        }
    };
    serde_json::from_slice(&bytes)
        .inspect_err(|error| warn!(path = %path.display(), %error, "state on disk is damaged; going on without it"))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Moment;
    use crate::plan::Drain;

    #[tokio::test]
    async fn what_is_remembered_is_there_after_a_restart_and_damage_is_not_fatal() {
        let dir = tempfile::tempdir().unwrap();
        let (store, memory) = Store::open(dir.path()).unwrap();
        assert_eq!(memory, Memory::default());
        let key = (
            "198.18.0.29:80".parse().unwrap(),
            "198.18.0.11:20000".parse().unwrap(),
        );
        let mut memory = Memory {
            addresses: ["198.18.0.29".parse().unwrap()].into(),
            ..Memory::default()
        };
        memory.drains.0.insert(
            key,
            Drain {
                since: Moment(1),
                deadline: Moment(61),
            },
        );
        store.remember(memory.clone());
        store.close().await;
        let (store, there) = Store::open(dir.path()).unwrap();
        assert_eq!(there, memory);
        store.close().await;
        std::fs::write(dir.path().join(DRAINS), b"{\"drains\":[{").unwrap();
        let (_, there) = Store::open(dir.path()).unwrap();
        assert_eq!(there, Memory::default());
    }
}
