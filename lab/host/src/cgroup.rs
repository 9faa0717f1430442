//! The lab's own cgroup, by which everything it started can be found again.
//!
//! Only membership is used, no limits: children of children (Nomad's tasks, Docker's shims) stay members even when
//! nobody wrote down their pids. It is a cgroup of the unified hierarchy, which hybrid machines mount beside the old
//! ones; where there is none, `down` still has the namespaces and the records.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::proc;

/// How long those that were killed may take to be reaped.
const REAP_TIMEOUT: Duration = Duration::from_secs(5);

/// Folder of all labs below the hierarchy's root.
const ROOT: &str = "nomad-ipvs-lab";

/// The profile's cgroup, if this machine can have one.
#[derive(Debug, Clone)]
pub struct Cgroup {
    path: Option<PathBuf>,
}

impl Cgroup {
    pub fn of(profile: &str) -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        Self {
            path: unified_mount(&mounts).map(|mount| mount.join(ROOT).join(profile)),
        }
    }

    /// Makes the cgroup and moves this process into it: what it starts from now on is born there.
    pub fn join(&self) -> Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        // Daemons sit in a leaf: a cgroup that has both children with controllers and processes is not allowed.
        let leaf = path.join("daemons");
        fs::create_dir_all(&leaf).with_context(|| format!("make cgroup {}", leaf.display()))?;
        fs::write(leaf.join("cgroup.procs"), std::process::id().to_string())
            .with_context(|| format!("join cgroup {}", leaf.display()))
    }

    /// Every process in it, at any depth.
    pub fn pids(&self) -> Vec<i32> {
        self.path.as_deref().map(pids_below).unwrap_or_default()
    }

    /// Lets every stopped process in it go on; how many there were.
    pub fn resume(&self) -> usize {
        let pids = self.pids();
        pids.iter()
            .filter(|pid| is_stopped(**pid))
            .filter(|pid| kill(Pid::from_raw(**pid), Signal::SIGCONT).is_ok())
            .count()
    }

    /// Removes the cgroup once it is empty.
    pub fn remove(&self) -> Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        remove_tree(path)?;
        // The folder of all labs goes with the last of them.
        path.parent().map(fs::remove_dir);
        Ok(())
    }
}

/// Removes a cgroup and those below it. Absent is fine.
pub fn remove_tree(path: &Path) -> Result<()> {
    for child in children(path) {
        remove_tree(&child)?;
    }
    // What was killed is a member until it has been reaped.
    let end = Instant::now() + REAP_TIMEOUT;
    let removed = loop {
        match fs::remove_dir(path) {
            Err(error) if error.kind() == ErrorKind::ResourceBusy && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(20));
            }
            other => break other,
        }
    };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove cgroup {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Every process of a cgroup and of those below it.
pub fn pids_below(path: &Path) -> Vec<i32> {
    let own = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    let own = own.lines().filter_map(|line| line.parse().ok());
    own.chain(children(path).iter().flat_map(|child| pids_below(child)))
        .collect()
}

fn children(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(path) else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect()
}

/// Whether a signal stopped the process whose /proc/PID/stat this is (proc(5): state `T` after the name in brackets).
fn is_stopped(pid: i32) -> bool {
    proc::stat(pid).is_some_and(|stat| stat.state == 'T')
}

/// Where the unified hierarchy is mounted, from the text of /proc/mounts.
fn unified_mount(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (_, target, kind) = (fields.next()?, fields.next()?, fields.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(target))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unified_hierarchy_is_found_on_hybrid_and_on_new_machines() {
        let hybrid = "cgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(
            unified_mount(hybrid),
            Some(PathBuf::from("/sys/fs/cgroup/unified"))
        );
        assert_eq!(
            unified_mount("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n"),
            Some(PathBuf::from("/sys/fs/cgroup"))
        );
        assert_eq!(unified_mount("proc /proc proc rw 0 0\n"), None);
    }

    #[test]
    fn a_process_is_stopped_by_its_state_whatever_its_name() {
        let folder = tempfile::tempdir().unwrap();
        // The kernel shows it as `(a) T 1)`.
        let program = folder.path().join("a) T 1");
        std::os::unix::fs::symlink("/bin/sleep", &program).unwrap();
        let mut child = std::process::Command::new(&program)
            .arg("60")
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let waits_until = |stopped: bool| {
            let end = std::time::Instant::now() + Duration::from_secs(10);
            while is_stopped(pid) != stopped {
                assert!(std::time::Instant::now() < end, "{:?}", proc::stat(pid));
            }
        };
        waits_until(false);
        kill(Pid::from_raw(pid), Signal::SIGSTOP).unwrap();
        waits_until(true);
        kill(Pid::from_raw(pid), Signal::SIGCONT).unwrap();
        waits_until(false);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!is_stopped(pid));
    }
}
