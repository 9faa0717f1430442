//! Finds out that a container has ended, and how.
//!
//! ```text
//!  pidfd ──▶ the syncer is told
//!  wait ──code──▶ inspect (out of memory?) ──▶ drain the log ──▶ tell
//!   └─error──▶ inspect: running? wait again · ended? tell · gone? tell · unreachable? try again
//! ```
//!
//! The engine decides. A lost connection is not an exit, and a silent one does not say that nothing happened. An engine that
//! restarts keeps its containers (live-restore) or ends them, and either way it is asked again when it is back.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nomad_driver_sdk::value::Exit;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::{TaskEnd, prompt};
use crate::announce::Announcer;
use crate::engine::{ContainerEngine, ContainerId, ContainerState, EngineError};
use crate::pidfd::Process;

/// A wait that has no answer for so long is asked anew: its connection may lead to nobody any more.
const LONGEST_WAIT: Duration = Duration::from_mins(2);
/// The pause between two questions to an engine that does not answer.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// A log whose reader is gone must not hide the exit for ever.
const LOG_DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs until the exit is known and told.
pub(super) async fn watch<E: ContainerEngine>(
    engine: Arc<E>,
    id: ContainerId,
    pid: Option<i32>,
    pump: Option<JoinHandle<()>>,
    announcer: Announcer,
    exit: watch::Sender<Option<TaskEnd>>,
) {
    let announcement = prompt::spawn(watch_process(pid, id.clone(), announcer.clone()));
    let (exit_result, is_announced) = tokio::join!(outcome(engine.as_ref(), &id), announcement);
    if !is_announced.unwrap_or(false) {
        announcer.report_exit().await;
    }
    if let Some(pump) = pump
        && timeout(LOG_DRAIN_TIMEOUT, pump).await.is_err()
    {
        warn!(
            container = id.short(),
            "the task's log is not drained, telling the exit anyway"
        );
    }
    info!(
        container = id.short(),
        code = exit_result.code,
        error = exit_result.error,
        "task ended"
    );
    // Nobody waits any more when this fails.
    let _ = exit.send(Some(TaskEnd {
        exit: exit_result,
        at: SystemTime::now(),
    }));
}

/// Tells the syncer once the process has ended; whether it could be watched.
async fn watch_process(pid: Option<i32>, id: ContainerId, announcer: Announcer) -> bool {
    let Some(pid) = pid else { return false };
    let end = async { Process::watch(pid, &id)?.wait_exit().await };
    match end.await {
        Ok(()) => {
            announcer.report_exit().await;
            debug!(container = id.short(), "process ended");
            true
        }
        Err(error) => {
            debug!(%error, container = id.short(), "the process can't be watched, the engine's word has to do");
            false
        }
    }
}

async fn outcome<E: ContainerEngine>(engine: &E, id: &ContainerId) -> Exit {
    loop {
        let silence = Err(EngineError::Timeout {
            operation: "wait",
            after: LONGEST_WAIT,
        });
        let answer = timeout(LONGEST_WAIT, engine.wait(id)).await;
        let answer = answer.unwrap_or(silence);
        match engine.inspect(&id.0).await.map(|container| container.state) {
            Ok(ContainerState::Exited {
                code,
                oom_killed,
                error,
            }) => return exit(code, oom_killed, &error),
            // Nothing happened: no pause, in which an exit would wait.
            Ok(ContainerState::Running | ContainerState::Paused | ContainerState::Created)
                if is_timeout(&answer) =>
            {
                continue;
            }
            Ok(ContainerState::Running | ContainerState::Paused | ContainerState::Created) => {
                debug!(
                    container = id.short(),
                    waited = ?answer,
                    "the wait broke off, the container has not ended"
                );
            }
            // Removed behind our back: the code of the wait, if there was one, is all there will be.
            Err(EngineError::NotFound(_)) => {
                let error = "the container was removed behind the driver's back".to_owned();
                let unknown = Exit {
                    code: -1,
                    error,
                    ..Exit::default()
                };
                return answer.map_or(unknown, |code| exit(code, false, ""));
            }
            Err(error) => {
                warn!(%error, container = id.short(), "the engine does not answer, asking again");
            }
        }
        sleep(RETRY_INTERVAL).await;
    }
}

fn is_timeout(answer: &Result<i64, EngineError>) -> bool {
    matches!(answer, Err(EngineError::Timeout { .. }))
}

fn exit(code: i64, oom_killed: bool, reason: &str) -> Exit {
    let error = match (oom_killed, code, reason) {
        (true, ..) => "OOM Killed".to_owned(),
        (false, 0, "") => String::new(),
        (false, 0, reason) => reason.to_owned(),
        (false, code, "") => format!("Docker container exited with non-zero exit code: {code}"),
        (false, code, reason) => {
            format!("Docker container exited with non-zero exit code: {code}: {reason}")
        }
    };
    Exit {
        code: i32::try_from(code).unwrap_or(-1),
        signal: 0,
        oom_killed,
        error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_has_no_error_and_everything_else_has_one() {
        assert_eq!(exit(0, false, ""), Exit::default());
        assert_eq!(exit(137, true, "").error, "OOM Killed");
        assert_eq!(
            exit(3, false, "").error,
            "Docker container exited with non-zero exit code: 3"
        );
    }
}
