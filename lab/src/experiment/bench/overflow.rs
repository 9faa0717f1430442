//! How often a server's own queue of connections was full: busybox's httpd lets nine wait, and a machine that keeps it from
//! running for a quarter of a second loses the tenth, whoever sent it there.
//!
//! The kernel counts by network namespace (`ListenOverflows` of `TcpExt`), and the count goes when the container does, so a
//! thread reads it again and again. What was counted between the last reading and a container's end is missed.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::host::cgroup::Cgroup;
use crate::host::proc;

const LOOK_INTERVAL: Duration = Duration::from_millis(300);
/// As the kernel names the process of every server in the lab's jobs.
const SERVER: &str = "httpd";

/// Reads until it is dropped.
pub(super) struct Overflows {
    total: Arc<AtomicU64>,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The latest count of each network namespace that has had a server.
#[derive(Default)]
struct Counts(BTreeMap<PathBuf, u64>);

impl Counts {
    /// How many more there are. A namespace that begins anew under an old name counts from nothing.
    fn read(&mut self, servers: impl IntoIterator<Item = (PathBuf, u64)>) -> u64 {
        let mut more = 0;
        for (namespace, count) in servers {
            let before = self.0.insert(namespace, count).unwrap_or_default();
            more += count.checked_sub(before).unwrap_or(count);
        }
        more
    }
}

impl Overflows {
    pub(super) fn watch(cgroup: &Cgroup) -> Self {
        let total = Arc::new(AtomicU64::new(0));
        let (stop, stopped) = mpsc::channel();
        let (cgroup, into) = (cgroup.clone(), Arc::clone(&total));
        let servers = move || cgroup.pids().into_iter().filter_map(server);
        let mut counts = Counts::default();
        // What was before is not ours.
        counts.read(servers());
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(LOOK_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                into.fetch_add(counts.read(servers()), Ordering::Relaxed);
            }
        });
        Self {
            total,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// All servers' together, since it watches.
    pub(super) fn so_far(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }
}

impl Drop for Overflows {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The namespace of a server, and its count; `None` for any other process, and for one that has gone.
fn server(pid: i32) -> Option<(PathBuf, u64)> {
    if proc::name(pid)? != SERVER {
        return None;
    }
    let namespace = fs::read_link(format!("/proc/{pid}/ns/net")).ok()?;
    let netstat = fs::read_to_string(format!("/proc/{pid}/net/netstat")).ok()?;
    Some((namespace, overflows(&netstat)?))
}

/// Each group is two lines: its names, and its values in the same order.
fn overflows(netstat: &str) -> Option<u64> {
    let mut lines = netstat.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let mut pairs = names.split(' ').zip(values.split(' '));
    pairs
        .find(|(name, _)| *name == "ListenOverflows")?
        .1
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_that_comes_anew_under_an_old_name_counts_from_nothing() {
        let mut counts = Counts::default();
        let mut read = |count| counts.read([(PathBuf::from("net:[1]"), count)]);
        assert_eq!([read(5), read(5), read(8), read(2)], [5, 0, 3, 2]);
    }

    #[test]
    fn the_count_is_found_among_the_kernels_others() {
        let netstat = "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 1 23 45\nIpExt: InOctets\nIpExt: 7\n";
        assert_eq!(overflows(netstat), Some(23));
        assert_eq!(overflows("IpExt: InOctets\nIpExt: 7\n"), None);
        let this = fs::read_to_string("/proc/self/net/netstat").unwrap();
        assert!(overflows(&this).is_some());
    }
}
