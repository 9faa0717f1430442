//! Network namespaces with names under `/run/netns`, as iproute2 keeps them.
//!
//! Work inside one is done by a thread that enters it: whatever that thread starts or opens stays there,
//! while mounts and cgroups remain the machine's (`ip netns exec` would remount /sys and hide the cgroups).

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};

use crate::{command, proc};

/// Where a namespace's handle is.
pub fn path(name: &str) -> PathBuf {
    Path::new("/run/netns").join(name)
}

pub fn exists(name: &str) -> bool {
    path(name).exists()
}

/// Makes the namespace, with its loopback up, unless it is there.
pub fn ensure(name: &str) -> Result<()> {
    if !exists(name) {
        command::run("ip", &["netns", "add", name])?;
    }
    command::run("ip", &["-n", name, "link", "set", "lo", "up"]).map(drop)
}

/// Removes the name; the namespace ends with its last process.
pub fn remove(name: &str) -> Result<()> {
    if exists(name) {
        command::run("ip", &["netns", "delete", name])?;
    }
    Ok(())
}

/// Moves the calling thread into the namespace, for good.
pub fn enter(name: &str) -> Result<()> {
    let file = File::open(path(name)).with_context(|| format!("open network namespace {name}"))?;
    setns(file, CloneFlags::CLONE_NEWNET).with_context(|| format!("enter network namespace {name}"))
}

/// Runs `work` on a thread inside the namespace.
pub fn within<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> Result<T> {
    std::thread::scope(|scope| {
        scope
            .spawn(|| enter(name).map(|()| work()))
            .join()
            .unwrap_or_else(|_| {
                Err(anyhow!(
                    "the thread inside network namespace {name} panicked"
                ))
            })
    })
}

/// Every process whose network is this namespace.
pub fn pids(name: &str) -> Vec<i32> {
    let Ok(wanted) = std::fs::metadata(path(name)).map(|meta| meta.ino()) else {
        return Vec::new();
    };
    let network = |pid: &i32| std::fs::metadata(format!("/proc/{pid}/ns/net"));
    proc::all()
        .filter(|pid| network(pid).is_ok_and(|meta| meta.ino() == wanted))
        .collect()
}
