//! One command at a time changes a profile's lab.

use std::fs::{File, OpenOptions};
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// Holds the lock until dropped. The kernel lets go when the process dies.
pub fn take(path: &Path) -> Result<Flock<File>> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .with_context(|| format!("open {}", path.display()))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((_, Errno::EWOULDBLOCK)) => {
            bail!(
                "another lab command is changing this profile (lock {}); wait for it or end it",
                path.display()
            )
        }
        Err((_, error)) => Err(error).with_context(|| format!("lock {}", path.display())),
    }
}
