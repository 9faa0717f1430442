//! A running task: one container, from its start (or its recovery) to its exit.
//!
//! ```text
//!            ┌─ exit watcher: pidfd says the process is gone, the engine says with which code ─▶ exit (watch channel)
//!  Task ─────┤
//!            └─ log pump: drained before the exit is told, so that nothing of a short task is lost
//! ```

mod exit;
pub mod handle;
mod prompt;
mod store;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nomad_driver_sdk::TaskConfig;
use nomad_driver_sdk::value::{DriverNetwork, Exit};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::announce::Announcer;
use crate::engine::{Container, ContainerEngine, ContainerId};
use crate::exec::Limits;

pub use store::Tasks;

/// A container the agent knows as a task.
#[derive(Debug)]
pub struct Task {
    pub config: TaskConfig,
    pub container: ContainerId,
    /// Its init process when it was started or taken over.
    pub pid: Option<i32>,
    pub network: Option<DriverNetwork>,
    pub started_at: Option<SystemTime>,
    pub announcer: Announcer,
    /// How long a stop waits for the drain; zero: not at all.
    pub drain: Duration,
    /// The limits of the commands that run inside it.
    pub commands: Limits,
    exit: watch::Receiver<Option<TaskEnd>>,
    /// Ends the watcher and the log pump.
    cancel: CancellationToken,
}

/// What a task is made of, beside its container.
#[derive(Debug)]
pub struct Parts {
    pub config: TaskConfig,
    pub network: Option<DriverNetwork>,
    pub announcer: Announcer,
    pub drain: Duration,
    /// Moves the output and ends after the container does.
    pub pump: Option<JoinHandle<()>>,
    pub cancel: CancellationToken,
}

/// A look at whether a task has ended.
#[derive(Debug, Clone)]
pub struct ExitWatch(watch::Receiver<Option<TaskEnd>>);

/// The exit and when it was known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskEnd {
    pub exit: Exit,
    pub at: SystemTime,
}

impl Task {
    /// Watches `container` from now on.
    pub fn watch<E: ContainerEngine>(engine: Arc<E>, container: &Container, parts: Parts) -> Self {
        let Parts {
            config,
            network,
            announcer,
            drain,
            pump,
            cancel,
        } = parts;
        let (exit_tx, exit) = watch::channel(None);
        let id = container.id.clone();
        let watcher = exit::watch(
            engine,
            id.clone(),
            container.pid,
            pump,
            announcer.clone(),
            exit_tx,
        );
        let stop = cancel.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = watcher => {}
                () = stop.cancelled() => {}
            }
        });
        Self {
            config,
            container: id,
            pid: container.pid,
            network,
            started_at: container.started_at,
            announcer,
            drain,
            commands: Limits::default(),
            exit,
            cancel,
        }
    }

    /// Answers once the task has ended. `None`: it was destroyed before that was known.
    pub async fn wait_end(&self) -> Option<TaskEnd> {
        let mut exit = self.exit.clone();
        // Cancel-safe: dropping the wait leaves the channel as it is.
        let end = exit.wait_for(Option::is_some).await.ok()?;
        end.clone()
    }

    pub async fn ends_within(&self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.wait_end()).await.is_ok()
    }

    /// A way to learn of the end that does not keep the task alive.
    pub fn exit_watch(&self) -> ExitWatch {
        ExitWatch(self.exit.clone())
    }

    pub fn exit(&self) -> Option<TaskEnd> {
        self.exit.borrow().clone()
    }
}

impl ExitWatch {
    /// The task has ended or was destroyed.
    pub fn is_over(&self) -> bool {
        self.0.borrow().is_some() || self.0.has_changed().is_err()
    }

    /// Waits for that. Cancel-safe.
    pub async fn wait_end(&mut self) {
        // An error is the task's destruction.
        let _ = self.0.wait_for(Option::is_some).await;
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}
