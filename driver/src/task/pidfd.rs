//! Learns of a process's end from the kernel, tens of milliseconds before the engine says it.
//!
//! Only where the engine's processes are ours too (a local engine, the same pid namespace): elsewhere the engine's answer has to do.

use std::fs;
use std::io;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::unix::AsyncFd;

use crate::engine::ContainerId;

/// Waits until `pid` has ended. An error: it can't be watched from here.
pub(super) async fn ended(pid: i32, container: &ContainerId) -> io::Result<()> {
    let target = Pid::from_raw(pid).ok_or_else(|| io::Error::other("no pid"))?;
    let fd = pidfd_open(target, PidfdFlags::NONBLOCK)?;
    // Checked after the descriptor is held, so that the number can't be somebody else's by then.
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    if !cgroup.contains(&container.0) {
        return Err(io::Error::other(format!(
            "process {pid} is not in the container's cgroup"
        )));
    }
    #[expect(
        deprecated,
        reason = "its successor is unsafe for other types' sake; an OwnedFd keeps its descriptor"
    )]
    AsyncFd::new(fd)?.readable().await?.retain_ready();
    Ok(())
}
