//! A start that meets an engine which is away for a moment: it is being restarted, or has lost its containerd and gets
//! another.
//!
//! It is back in seconds, and a start that failed meanwhile would wait for the job's whole restart delay. Not for an engine
//! that hangs: each call has its own time-out.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::engine::{ContainerEngine, ContainerId, ContainerState, EngineError};

/// Each of a start's phases (image, container, run) waits so long for an engine that is away. dockerd needs some twelve seconds until it has another containerd in
/// place of one that was killed.
const ENGINE_WAIT_MAX: Duration = Duration::from_secs(30);

/// The pause between two questions whether it is back.
pub(super) const ENGINE_POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Asks an engine that is away again, up to a moment.
pub(super) struct EngineWait {
    begin: Instant,
}

impl EngineWait {
    pub(super) fn begin() -> Self {
        let begin = Instant::now();
        Self { begin }
    }

    /// Whether it is worth while to ask again.
    pub(super) fn goes_on(&self) -> bool {
        self.begin.elapsed() < ENGINE_WAIT_MAX
    }

    pub(super) async fn ask<T, F>(&self, mut ask: impl FnMut() -> F) -> Result<T, EngineError>
    where
        F: Future<Output = Result<T, EngineError>>,
    {
        loop {
            match ask().await {
                Err(EngineError::Unreachable(_)) if self.goes_on() => {
                    sleep(ENGINE_POLL_INTERVAL).await;
                }
                other => return other,
            }
        }
    }
}

/// Starts the container once: an engine that was away when it should have answered may have started it, and a short task be
/// over by now.
pub(super) async fn start_once<E: ContainerEngine>(
    engine: &E,
    id: &ContainerId,
    wait: &EngineWait,
) -> Result<(), EngineError> {
    loop {
        match engine.start(id).await {
            Err(EngineError::Unreachable(_)) if wait.goes_on() => {}
            other => return other,
        }
        sleep(ENGINE_POLL_INTERVAL).await;
        let container = wait.ask(|| engine.inspect(&id.0)).await?;
        if container.state != ContainerState::Created {
            return Ok(());
        }
    }
}
