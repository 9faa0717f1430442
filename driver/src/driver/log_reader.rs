//! The built-in driver's log readers, one process `docker_logger` a task: ended when the task is taken over, or each line
//! would arrive twice.
//!
//! A handle that the built-in driver wrote names its reader. One that we wrote does not, though the built-in driver may
//! have had the task meanwhile: its reader is known by the FIFOs that it writes into.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tracing::{info, warn};

/// Ends the reader with this pid, if it still is one, and any other that writes into one of `fifos`.
pub(super) fn end(pid: Option<i32>, fifos: &[&str]) {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    for reader in pids.filter(|&pid| is_reader(pid)) {
        if pid == Some(reader) || fifos.iter().any(|fifo| writes(reader, fifo)) {
            kill_reader(reader);
        }
    }
}

fn is_reader(pid: i32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| {
        line.split(|byte| *byte == 0)
            .any(|word| word == b"docker_logger")
    })
}

fn writes(pid: i32, fifo: &str) -> bool {
    let files = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten();
    files
        .filter_map(|file| fs::read_link(file.path()).ok())
        .any(|target| leads_to(&target, fifo))
}

/// `/dev/null` stands for a log that nobody wants, and everybody has it open.
fn leads_to(target: &Path, fifo: &str) -> bool {
    target.extension() == Some(OsStr::new("fifo")) && target == Path::new(fifo)
}

fn kill_reader(pid: i32) {
    match kill(Pid::from_raw(pid), Signal::SIGKILL) {
        Ok(()) => info!(
            pid,
            "ended the built-in driver's log reader of a task taken over"
        ),
        Err(error) => {
            warn!(%error, pid, "the built-in driver's log reader can't be ended, lines may arrive twice");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::process::{Child, Command};
    use std::thread::sleep;
    use std::time::Duration;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    /// A shell with `fifo` open and this word on its command line.
    fn holder(word: &str, fifo: &Path) -> Child {
        let child = Command::new("sh")
            .args(["-c", "exec 3<>\"$1\"; while :; do sleep 1; done", word])
            .arg(fifo)
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        while !writes(pid, fifo.to_str().unwrap()) {
            sleep(Duration::from_millis(10));
        }
        child
    }

    fn fifo(folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(name);
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        path
    }

    #[test]
    fn only_the_readers_of_the_task_are_ended() {
        let folder = tempfile::tempdir().unwrap();
        let task_fifo = fifo(folder.path(), ".web.stdout.fifo");
        let other_fifo = fifo(folder.path(), ".db.stdout.fifo");
        let mut reader = holder("docker_logger", &task_fifo);
        let mut handle_reader = holder("docker_logger", &other_fifo);
        let mut bystanders = [
            holder("docker_logger", &other_fifo),
            holder("logmon", &task_fifo),
        ];
        let pid = i32::try_from(handle_reader.id()).unwrap();
        end(Some(pid), &[task_fifo.to_str().unwrap(), "/dev/null"]);
        for child in [&mut reader, &mut handle_reader] {
            assert!(!child.wait().unwrap().success());
        }
        // One that has the pid of a reader that is long gone is nobody's business.
        end(Some(i32::try_from(bystanders[1].id()).unwrap()), &[]);
        for child in &mut bystanders {
            assert!(child.try_wait().unwrap().is_none());
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
