//! How a command ended; the engine is asked as rarely as possible.
//!
//! On the engine's own machine the kernel says that the process is gone, and only then is the engine asked. Elsewhere it is
//! asked when the output has ended, which is nearly always the end, and now and then for a child that keeps it open.

use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use crate::engine::{CommandId, CommandState, ContainerEngine, ContainerId, EngineError};
use crate::pidfd::Process;

/// The pause between the first two questions, which is also how long the engine may be behind the kernel.
/// Each next pause is twice as long,
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// and this is the longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// The pause while the kernel watches the process: the question is then only a safeguard.
const PROCESS_WATCH_PAUSE: Duration = Duration::from_secs(30);

/// The exit code. `silent` is notified when there is no more output.
pub(super) async fn of<E: ContainerEngine>(
    engine: &E,
    container: &ContainerId,
    id: &CommandId,
    silent: &Notify,
) -> Result<i64, EngineError> {
    let mut pause = FIRST_PAUSE;
    let mut process = None;
    loop {
        let pid = match engine.exec_state(id).await? {
            CommandState::Exit { code } => return Ok(code),
            CommandState::Running { pid } => pid,
        };
        if process.is_none() {
            process = pid.and_then(|pid| Process::watch(pid, container).ok());
        }
        let limit = match &process {
            Some(process) if !process.has_exited() => PROCESS_WATCH_PAUSE,
            _ => pause,
        };
        // Cancel-safe: all three only wait.
        tokio::select! {
            () = wait_exit(process.as_mut()) => pause = FIRST_PAUSE,
            () = silent.notified() => {
                process = None;
                pause = FIRST_PAUSE;
            }
            () = sleep(limit) => pause = pause.saturating_mul(2).min(LONGEST_PAUSE),
        }
    }
}

/// Waits for the end of a process that is there.
async fn wait_exit(process: Option<&mut Process>) {
    if let Some(process) = process.filter(|process| !process.has_exited())
        && process.wait_exit().await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}
