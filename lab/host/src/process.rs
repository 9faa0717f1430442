//! Long-running processes of the lab: started, recognised again, ended.
//!
//! A process is known by pid, start time and boot id together, so that a pid that the kernel gave to somebody
//! else, or a record from before a reboot, is never signalled. Not for one-shot commands: see [`crate::command`].

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::{netns, proc, programs};

/// Which process, beyond doubt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub pid: i32,
    /// Clock ticks since boot (proc(5), stat field 22).
    start: u64,
    boot: String,
}

impl Identity {
    /// Of a living process.
    pub fn of(pid: i32) -> Option<Self> {
        Some(Self {
            pid,
            start: start_time(pid)?,
            boot: boot_id(),
        })
    }

    pub fn is_alive(&self) -> bool {
        self.boot == boot_id() && start_time(self.pid) == Some(self.start)
    }

    pub fn signal(&self, signal: Signal) {
        if self.is_alive() {
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }

    /// Asks the process to end and waits; kills it when it doesn't in time.
    pub fn stop(&self, timeout: Duration) {
        self.signal(Signal::SIGTERM);
        if !self.gone_within(timeout) {
            self.signal(Signal::SIGKILL);
            self.gone_within(Duration::from_secs(5));
        }
    }

    pub fn gone_within(&self, timeout: Duration) -> bool {
        let until = Instant::now() + timeout;
        while self.is_alive() {
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }
}

/// A process to start in the background.
#[derive(Debug)]
pub struct Daemon<'a> {
    pub name: &'a str,
    pub program: &'a Path,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    /// Network namespace to start in; the machine's own when absent.
    pub netns: Option<String>,
    pub log: PathBuf,
}

impl Daemon<'_> {
    /// Starts it in a session of its own, output appended to its log. A child that ends at once is reported
    /// by whoever waits for it to be ready, with [`log_tail`].
    pub fn start(&self) -> Result<Identity> {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("open log {}", self.log.display()))?;
        // setsid, being no group leader after fork, becomes the program itself: the pid stays.
        let mut command = Command::new("setsid");
        command
            .arg(self.program)
            .args(&self.args)
            // A plain user's PATH, which sudo may keep, lacks the folders of iptables and its like.
            .env("PATH", programs::search_path())
            .envs(self.env.iter().map(|(key, value)| (key, value)))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("share the log")?)
            .stderr(log);
        let mut spawn = move || command.spawn();
        let child = match &self.netns {
            Some(netns) => netns::within(netns, spawn)?,
            None => spawn(),
        }
        .with_context(|| format!("start {} ({})", self.name, self.program.display()))?;
        let pid = i32::try_from(child.id()).context("a pid beyond pid_t")?;
        // A thread reaps it, so that while this program lives a dead child is not taken for a living one.
        reap(child);
        match Identity::of(pid) {
            Some(identity) => Ok(identity),
            None => bail!("{} ended at once: {}", self.name, log_tail(&self.log, 5)),
        }
    }
}

fn reap(mut child: std::process::Child) {
    std::thread::spawn(move || child.wait());
}

/// The living children of a process.
pub fn children(parent: i32) -> Vec<Identity> {
    proc::all()
        .filter(|&pid| proc::stat(pid).is_some_and(|stat| stat.ppid == parent))
        .filter_map(Identity::of)
        .collect()
}

/// The last lines of a log, for an error that has to explain itself.
pub fn log_tail(log: &Path, lines: usize) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text[text.len().saturating_sub(16 * 1024)..]).into_owned();
    let all: Vec<&str> = text.lines().collect();
    let tail = all[all.len().saturating_sub(lines)..].join("\n    ");
    if tail.is_empty() {
        format!("{} is empty", log.display())
    } else {
        format!("{} ends:\n    {tail}", log.display())
    }
}

/// This boot's id; records of another boot describe nothing that lives.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// A zombie counts as gone: it runs nothing and answers nobody.
fn start_time(pid: i32) -> Option<u64> {
    let stat = proc::stat(pid)?;
    (!matches!(stat.state, 'Z' | 'X')).then_some(stat.starttime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_the_same_pid_from_another_boot_is_not() {
        let me = Identity::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(me.is_alive());
        let before_reboot = Identity {
            boot: "another".to_owned(),
            ..me.clone()
        };
        assert!(!before_reboot.is_alive());
        let reused = Identity {
            start: me.start + 1,
            ..me
        };
        assert!(!reused.is_alive());
    }

    #[test]
    fn a_child_is_found_by_its_parent() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let found = children(i32::try_from(std::process::id()).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(
            found.iter().any(|identity| identity.pid == pid),
            "{found:?}"
        );
    }

    #[test]
    fn a_child_that_ended_is_gone_once_it_is_a_zombie() {
        let child = Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let identity = Identity {
            pid,
            start: start_time(pid).unwrap_or(0),
            boot: boot_id(),
        };
        assert!(identity.gone_within(Duration::from_secs(5)));
        drop(child);
    }
}
