//! A task's output, from the engine to the files that the agent serves.
//!
//! ```text
//!  container ─▶ engine ─attach─▶ pump ─▶ sink ─fifo─▶ agent's logmon ─▶ <task>.stdout.N
//!                  └──history──▶  (after a break)  └──────directly─────────▶    "
//! ```
//!
//! Nothing below an allocation is trusted: the pump holds `directory` from before the container starts, and opens all else
//! from there.
//!
//! Runs inside the plugin: no process per task. The attachment is opened before the container starts, so a burst is
//! not lost to the rotation of the engine's own files. When it breaks (this process, the engine or the connection
//! died), the engine's stored log is read on from the very byte that the files end with: `resume` finds it, so no
//! position has to be saved and none can be wrong. A reader that is slow slows the container, as a pipe does: nothing
//! is dropped here.

mod directory;
mod files;
mod outbox;
mod pipe;
mod place;
mod resume;
mod sink;
mod tail;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::engine::{Chunk, ContainerEngine, ContainerId, EngineError, Output, Source};

use directory::off_worker;
use resume::Skip;
use sink::Sink;

pub use place::{LogPlace, Paths, PlaceError};
#[cfg(any(test, fuzzing))]
pub(crate) use resume::fuzz as fuzz_stored_log;

/// Chunks taken at once; many small lines then become one write.
const BATCH_LENGTH_MAX: usize = 256;
/// The pause between two questions to an engine that does not answer, and before the log is read on.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// The engine closes the attachment before it says that the container has ended: first it stores what the container wrote,
/// which on a busy machine takes as long as ten seconds for a million lines.
const EXIT_TIMEOUT: Duration = Duration::from_secs(20);

/// Something the user should know: lines that are gone.
pub type Report = Arc<dyn Fn(String) + Send + Sync>;

/// Moves one container's output until it has ended.
pub struct Pump<E> {
    pub engine: Arc<E>,
    pub container: ContainerId,
    pub place: LogPlace,
    pub report: Report,
}

impl<E: ContainerEngine> Pump<E> {
    /// Returns once everything was handed over, or `cancel` says so. `attachment` is output from the container's very
    /// start; without it the log is read on from where the files end.
    pub async fn run(self, attachment: Option<Output>, cancel: CancellationToken) {
        tokio::select! {
            () = self.pump(attachment) => debug!(container = self.container.short(), "output ended"),
            () = cancel.cancelled() => debug!(container = self.container.short(), "log pump cancelled"),
        }
    }

    async fn pump(&self, attachment: Option<Output>) {
        let sink = |fifo| Sink::new(&self.place, fifo, Arc::clone(&self.report));
        let mut sinks = Sinks {
            stdout: sink(&self.place.stdout),
            stderr: sink(&self.place.stderr),
        };
        self.relay(attachment, &mut sinks).await;
        sinks.finish().await;
    }

    async fn relay(&self, attachment: Option<Output>, sinks: &mut Sinks) {
        if let Some(output) = attachment {
            sinks.open().await;
            if self.drain(output, sinks).await && self.has_ended().await == Some(true) {
                return;
            }
        }
        loop {
            // Everything handed over before has to be in the files, which say where to go on.
            sinks.settle().await;
            match self.resume(sinks).await {
                Ok(output) => {
                    let complete = self.drain(output, sinks).await;
                    if complete && self.has_ended().await == Some(true) {
                        return;
                    }
                }
                Err(EngineError::NotFound(_)) => return,
                // The engine can only give what comes from now on.
                Err(EngineError::Refusal(reason)) if unreadable(&reason) => {
                    (self.report)(format!(
                        "log lines may be missing: the engine cannot read this task's log back ({reason})"
                    ));
                    match self.engine.attach(&self.container).await {
                        Ok(output) => drop(self.drain(output, sinks).await),
                        Err(error) => {
                            warn!(%error, container = self.container.short(), "cannot attach");
                        }
                    }
                    if self.has_ended().await == Some(true) {
                        return;
                    }
                }
                Err(error) => {
                    warn!(%error, container = self.container.short(), "the task's log cannot be read now");
                }
            }
            sleep(RETRY_INTERVAL).await;
        }
    }

    /// Whether `output` ended by itself.
    async fn drain(&self, output: Output, sinks: &mut Sinks) -> bool {
        let mut complete = true;
        let mut batches = output.ready_chunks(BATCH_LENGTH_MAX);
        loop {
            let batch = tokio::select! {
                batch = batches.next() => batch,
                // Cancel-safe because it only looks.
                () = sinks.watch() => {
                    sinks.attend().await;
                    continue;
                }
            };
            let Some(batch) = batch else { return complete };
            let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
            for item in batch {
                match item {
                    Ok(Chunk {
                        source: Source::Stdout,
                        bytes,
                    }) => stdout.push(bytes),
                    Ok(Chunk {
                        source: Source::Stderr,
                        bytes,
                    }) => stderr.push(bytes),
                    Err(error) => {
                        debug!(%error, container = self.container.short(), "the engine's output stream broke");
                        complete = false;
                    }
                }
            }
            tokio::join!(sinks.stdout.write(&stdout), sinks.stderr.write(&stderr));
        }
    }

    /// `None`: the engine does not say.
    async fn has_ended(&self) -> Option<bool> {
        match timeout(EXIT_TIMEOUT, self.engine.wait(&self.container)).await {
            Ok(Ok(_) | Err(EngineError::NotFound(_))) => Some(true),
            Ok(Err(_)) => None,
            Err(_) => Some(false),
        }
    }

    /// The stored log from the byte on that the files end with, and then what comes.
    async fn resume(&self, sinks: &Sinks) -> Result<Output, EngineError> {
        let container = self.engine.inspect(&self.container.0).await?;
        let start = container.started_at;
        let mut skips = Vec::new();
        for (source, files) in [
            (Source::Stdout, sinks.stdout.files().clone()),
            (Source::Stderr, sinks.stderr.files().clone()),
        ] {
            let end = off_worker(move || files.end()).await;
            let skip = match end {
                Ok(Some(end)) if start.is_none_or(|start| end.write_time >= start) => {
                    self.find(source, &end).await?
                }
                // Nothing of this container is in the files.
                Ok(_) => Skip::empty(source),
                Err(error) => {
                    (self.report)(format!(
                        "log lines may be missing: what has arrived can't be read ({error})"
                    ));
                    Skip::until_now(source)
                }
            };
            debug!(
                container = self.container.short(),
                ?skip,
                "where the files end"
            );
            skips.push(skip);
        }
        let since = skips.iter().map(Skip::since).min().unwrap_or_default();
        info!(
            container = self.container.short(),
            since, "reading the task's log on"
        );
        let history = self.engine.history(&self.container, since, true).await?;
        let loss = match container.log_limits {
            Some(limits) if skips.iter().all(Skip::is_empty) => {
                let log = self.engine.history(&self.container, 0, false).await?;
                resume::rotation::doubt(log, limits, start).await?
            }
            _ => resume::loss(&skips),
        };
        if let Some(loss) = loss {
            (self.report)(loss);
        }
        Ok(resume::without(history, skips))
    }

    async fn find(&self, source: Source, end: &files::End) -> Result<Skip, EngineError> {
        // First the seconds around the last write; all of it when the end is not found there.
        let mut begins = None;
        for since in [resume::shortly_before(end.write_time), 0] {
            let history = self.engine.history(&self.container, since, false).await?;
            let boundary = resume::boundary(history, source, end).await?;
            if let Some(skip) = boundary.skip {
                return Ok(skip);
            }
            begins = boundary.begins;
        }
        Ok(Skip::older_than(source, end.write_time, begins))
    }
}

impl<E> std::fmt::Debug for Pump<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pump")
            .field("container", &self.container)
            .finish_non_exhaustive()
    }
}

/// The words of a log driver that only writes.
fn unreadable(reason: &str) -> bool {
    let reason = reason.to_ascii_lowercase();
    reason.contains("does not support reading") || reason.contains("not implemented")
}

struct Sinks {
    stdout: Sink,
    stderr: Sink,
}

impl Sinks {
    /// Both early: the agent's reader ends when its last writer goes.
    async fn open(&mut self) {
        tokio::join!(self.stdout.open(), self.stderr.open());
    }

    async fn settle(&mut self) {
        tokio::join!(self.stdout.settle(), self.stderr.settle());
    }

    /// Completes when there is something to attend to. Cancel-safe.
    async fn watch(&mut self) {
        tokio::select! {
            () = self.stdout.watch() => {}
            () = self.stderr.watch() => {}
        }
    }

    async fn attend(&mut self) {
        tokio::join!(self.stdout.attend(), self.stderr.attend());
    }

    async fn finish(&mut self) {
        tokio::join!(self.stdout.finish(), self.stderr.finish());
    }
}

#[cfg(test)]
mod tests;
