//! A task's log through the whole driver, on the fake engine, with the agent's FIFOs and files.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use nomad_driver_sdk::{TaskConfig, TaskDriver};
use tokio::time::{sleep, timeout};

use crate::driver::{driver, task};
use crate::fake::FakeEngine;

const WAIT_MAX: Duration = Duration::from_secs(10);

#[tokio::test]
async fn what_was_rotated_away_meanwhile_is_told_in_one_event_and_the_rest_arrives() {
    let logs = Logs::new();
    let engine = FakeEngine::default();
    let before = driver(&engine);
    let script =
        "sleep 0.2; echo 0; echo a >&2; sleep 1; echo 1; echo b >&2; echo 2; echo 3; sleep 600";
    let start = before
        .start_task(logs.of(task("t1", script)))
        .await
        .unwrap();
    logs.wait_for_log("stdout", "0\n").await;
    logs.wait_for_log("stderr", "a\n").await;
    drop(before);
    while engine.log_length() < 6 {
        sleep(Duration::from_millis(20)).await;
    }
    engine.rotate(2);

    let after = driver(&engine);
    let mut events = Box::pin(after.task_events());
    after.recover_task(start.handle).await.unwrap();
    let event = timeout(WAIT_MAX, events.next()).await.unwrap().unwrap();
    assert_eq!(event.task_id, "t1");
    let seconds: f64 = event
        .message
        .split_once(" s of log lines are gone")
        .unwrap()
        .0
        .parse()
        .unwrap();
    assert!((0.5..2.0).contains(&seconds), "{}", event.message);
    logs.wait_for_log("stdout", "0\n2\n3\n").await;
    assert!(events.next().now_or_never().is_none(), "told twice");
}

#[tokio::test]
async fn what_was_written_while_no_driver_ran_arrives_once_and_nothing_is_told() {
    let logs = Logs::new();
    let engine = FakeEngine::default();
    let before = driver(&engine);
    let script = "sleep 0.2; echo 0; sleep 0.5; echo 1; echo 2; sleep 600";
    let start = before
        .start_task(logs.of(task("t1", script)))
        .await
        .unwrap();
    logs.wait_for_log("stdout", "0\n").await;
    drop(before);
    while engine.log_length() < 3 {
        sleep(Duration::from_millis(20)).await;
    }
    let after = driver(&engine);
    let mut events = Box::pin(after.task_events());
    after.recover_task(start.handle).await.unwrap();
    logs.wait_for_log("stdout", "0\n1\n2\n").await;
    assert!(events.next().now_or_never().is_none());
}

#[tokio::test]
async fn a_log_directory_that_is_a_link_starts_no_task_and_ends_none() {
    let logs = Logs::new();
    let engine = FakeEngine::default();
    let before = driver(&engine);
    let script = "sleep 0.2; echo 0; sleep 600";
    let start = before
        .start_task(logs.of(task("t1", script)))
        .await
        .unwrap();
    logs.wait_for_log("stdout", "0\n").await;
    let outside = tempfile::tempdir().unwrap();
    fs::rename(logs.folder(), logs.0.path().join("moved")).unwrap();
    symlink(outside.path(), logs.folder()).unwrap();
    let other = TaskConfig {
        alloc_id: "a2".into(),
        ..logs.of(task("t2", "echo forged"))
    };
    let error = before.start_task(other).await.unwrap_err();
    let words = error.to_string();
    assert!(words.contains("\"alloc/logs\""), "{words}");
    assert_eq!(engine.containers().len(), 1, "what failed is left behind");
    drop(before);

    let after = driver(&engine);
    let mut events = Box::pin(after.task_events());
    after.recover_task(start.handle).await.unwrap();
    let event = timeout(WAIT_MAX, events.next()).await.unwrap().unwrap();
    assert!(
        event.message.contains("log is not collected"),
        "{}",
        event.message
    );
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

/// A task's log folder, and somebody who copies the FIFOs into the files as logmon does.
struct Logs(tempfile::TempDir);

impl Logs {
    fn new() -> Self {
        let logs = Self(tempfile::tempdir().unwrap());
        for stream in ["stdout", "stderr"] {
            let (fifo, file) = (logs.fifo(stream), logs.file(stream));
            fs::create_dir_all(fifo.parent().unwrap()).unwrap();
            mkfifo(&fifo, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
            std::thread::spawn(move || while copy(&fifo, &file).is_ok() {});
        }
        for name in ["local", "secrets"] {
            fs::create_dir_all(logs.0.path().join("web").join(name)).unwrap();
        }
        logs
    }

    fn of(&self, task: TaskConfig) -> TaskConfig {
        TaskConfig {
            alloc_dir: self.0.path().display().to_string(),
            stdout_path: self.fifo("stdout").display().to_string(),
            stderr_path: self.fifo("stderr").display().to_string(),
            ..task
        }
    }

    fn folder(&self) -> PathBuf {
        self.0.path().join("alloc/logs")
    }

    async fn wait_for_log(&self, stream: &str, expected: &str) {
        let read = || fs::read_to_string(self.file(stream)).unwrap_or_default();
        let look = async {
            while read() != expected {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let outcome = timeout(WAIT_MAX, look).await;
        assert!(
            outcome.is_ok(),
            "{stream} is {:?}, not {expected:?}",
            read()
        );
    }

    fn fifo(&self, stream: &str) -> PathBuf {
        self.folder().join(format!(".web.{stream}.fifo"))
    }

    fn file(&self, stream: &str) -> PathBuf {
        self.folder().join(format!("web.{stream}.0"))
    }
}

/// Until the last writer goes. The folder's removal is the end of it.
fn copy(fifo: &Path, file: &Path) -> io::Result<u64> {
    let mut from = File::open(fifo)?;
    let mut to = OpenOptions::new().create(true).append(true).open(file)?;
    io::copy(&mut from, &mut to)
}
