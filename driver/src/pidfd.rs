//! Learns of a process's end from the kernel, tens of milliseconds before the engine says it.
//!
//! This works only where the engine's processes are ours too (a local engine, the same pid namespace). Elsewhere the engine's
//! answer has to do.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::unix::AsyncFd;

use crate::engine::ContainerId;

/// A process of a container, watched.
#[derive(Debug)]
pub(crate) struct Process {
    fd: AsyncFd<OwnedFd>,
    over: bool,
}

impl Process {
    /// An error: it can't be watched from here.
    pub(crate) fn watch(pid: i32, container: &ContainerId) -> io::Result<Self> {
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
        let fd = AsyncFd::new(fd)?;
        Ok(Self { fd, over: false })
    }

    /// Waits for its end. Cancel-safe. An error: it can't be waited for any more.
    pub(crate) async fn wait_exit(&mut self) -> io::Result<()> {
        if !self.over {
            self.fd.readable().await?.retain_ready();
            self.over = true;
        }
        Ok(())
    }

    pub(crate) fn has_exited(&self) -> bool {
        self.over
    }
}
