//! What a director remembers on disk: the last applied table, open drains, and which addresses it added.
//!
//! Files are replaced by rename, so a crash leaves the old or the new one. Writing happens behind the pass, never in
//! its way: of several states in a row only the newest is written, and one that could not be written is tried again. A
//! file that can't be read counts as none, said loudly: the kernel's own table is still there.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use syncer_core::memory::Memory;
use syncer_core::plan::Drains;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tracing::{error, warn};

/// How long until a failed write is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// After a write nothing is written for so many times as long as it took: a table of thousands of services is
/// megabytes, and one that changes all the time would be written all the time.
const REST_PER_WRITE: u32 = 9;

const TABLE: &str = "table.json";
const DRAINS: &str = "drains.json";

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

/// Writes what is to be remembered, behind the loop.
#[derive(Debug)]
pub struct Store {
    newest: watch::Sender<Memory>,
    trouble: watch::Receiver<Option<String>>,
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
        // A file that is there and of no use, or a table without it: an earlier process has been here.
        let was_here = [DRAINS, TABLE].iter().any(|file| dir.join(file).exists());
        let small: Option<Small> = read(&dir.join(DRAINS));
        let addresses_lost = was_here && small.is_none();
        let (drains, addresses) = small
            .map(|small| (small.drains, small.addresses))
            .unwrap_or_default();
        let services = read(&dir.join(TABLE)).unwrap_or_default();
        let memory = Memory {
            services,
            drains,
            addresses,
            addresses_lost,
        };
        let (newest, changes) = watch::channel(memory.clone());
        let (trouble_sender, trouble) = watch::channel(None);
        let writer = tokio::spawn(write_behind(
            dir.to_owned(),
            memory.clone(),
            changes,
            trouble_sender,
        ));
        let store = Self {
            newest,
            trouble,
            writer,
        };
        Ok((store, memory))
    }

    /// Why the newest state is not on disk.
    pub fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.trouble.clone()
    }

    /// Remembers that, and writes it soon.
    pub fn remember(&self, memory: Memory) {
        self.newest.send_if_modified(|current| {
            let differs = *current != memory;
            if differs {
                *current = memory;
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

/// Writes until the sender is gone; a write that fails is tried again, and once more at the end.
async fn write_behind(
    dir: PathBuf,
    mut written: Memory,
    mut changes: watch::Receiver<Memory>,
    trouble_sender: watch::Sender<Option<String>>,
) {
    let mut open = true;
    while open {
        let failed = trouble_sender.borrow().is_some();
        // Cancel-safe: a change that is not seen here is seen by the next turn.
        open = tokio::select! {
            changed = changes.changed() => changed.is_ok(),
            () = tokio::time::sleep(RETRY_PAUSE), if failed => true,
        };
        if !open && !failed {
            return;
        }
        let next = changes.borrow_and_update().clone();
        let (dir, before) = (dir.clone(), written.clone());
        let begun = Instant::now();
        let wrote = tokio::task::spawn_blocking(move || write(&dir, before, &next)).await;
        // A writer that panicked wrote nothing.
        let (now, trouble) = wrote.unwrap_or_else(|panic| (written, Some(panic.to_string())));
        written = now;
        trouble_sender.send_replace(trouble);
        let rest = begun.elapsed().saturating_mul(REST_PER_WRITE);
        let mut changed = false;
        let more = async {
            while changes.changed().await.is_ok() {
                changed = true;
            }
        };
        // Of the end, too, `changes` tells: it is not waited for.
        let _ = timeout(rest, more).await;
        if changed {
            changes.mark_changed();
        }
    }
}

/// Writes what differs; gives what is on disk afterwards, and what went wrong.
fn write(dir: &Path, mut written: Memory, next: &Memory) -> (Memory, Option<String>) {
    let mut trouble = None;
    let mut replaced = |file: &str, done: io::Result<()>| match done {
        Ok(()) => true,
        Err(error) => {
            let path = dir.join(file);
            error!(path = %path.display(), %error, "state is not on disk; after a restart it will be missing");
            let why = format!(
                "{} is not written, after a restart it will be missing: {error}",
                path.display()
            );
            trouble = Some(why);
            false
        }
    };
    if written.drains != next.drains || written.addresses != next.addresses {
        let small = Small {
            drains: next.drains.clone(),
            addresses: next.addresses.clone(),
        };
        if replaced(DRAINS, replace(&dir.join(DRAINS), &small)) {
            (written.drains, written.addresses) = (small.drains, small.addresses);
        }
    }
    if written.services != next.services
        && replaced(TABLE, replace(&dir.join(TABLE), &next.services))
    {
        written.services = next.services.clone();
    }
    (written, trouble)
}

fn replace(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let new = path.with_extension("new");
    std::fs::write(&new, serde_json::to_vec(value)?)?;
    std::fs::File::open(&new)?.sync_all()?;
    std::fs::rename(&new, path)?;
    // The rename itself is on disk once its directory is.
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::File::open(dir)?.sync_all()
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
    use syncer_core::model::Moment;
    use syncer_core::plan::Drain;

    use super::*;

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
        let (store, current) = Store::open(dir.path()).unwrap();
        assert_eq!(current, memory);
        store.close().await;
        let lost = Memory {
            addresses_lost: true,
            ..Memory::default()
        };
        for damage in [&b"{\"drains\":[{"[..], &[0; 4096], b""] {
            std::fs::write(dir.path().join(DRAINS), damage).unwrap();
            let (_, current) = Store::open(dir.path()).unwrap();
            assert_eq!(current, lost);
        }
        std::fs::remove_file(dir.path().join(DRAINS)).unwrap();
        let (_, current) = Store::open(dir.path()).unwrap();
        assert!(!current.addresses_lost, "as at a first start");
        std::fs::write(dir.path().join(TABLE), b"[]").unwrap();
        let (_, current) = Store::open(dir.path()).unwrap();
        assert!(current.addresses_lost, "a table without it");
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_written_is_told_and_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let (store, memory) = Store::open(dir.path()).unwrap();
        // A directory in the file's place: not even root can rename over it.
        std::fs::create_dir(dir.path().join(DRAINS)).unwrap();
        let memory = Memory {
            addresses: ["198.18.0.29".parse().unwrap()].into(),
            ..memory
        };
        store.remember(memory.clone());
        until(|| store.trouble().borrow().is_some()).await;
        assert!(store.trouble().borrow().as_ref().unwrap().contains(DRAINS));
        std::fs::remove_dir(dir.path().join(DRAINS)).unwrap();
        until(|| store.trouble().borrow().is_none()).await;
        let (_, current) = Store::open(dir.path()).unwrap();
        assert_eq!(current, memory);
    }

    /// The store's own thread writes, and its pauses are virtual: so is this patience, far beyond all of them.
    async fn until(so: impl Fn() -> bool) {
        for _ in 0..600_000 {
            if so() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("not in time");
    }
}
