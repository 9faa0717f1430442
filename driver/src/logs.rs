//! A task's output, from the engine into the FIFOs that the agent reads.
//!
//! ```text
//!  container ──▶ engine ──attach──▶ pump ──▶ fifo stdout ──▶ agent's logmon ──▶ <task>.stdout.N
//!                                        └─▶ fifo stderr
//! ```
//!
//! Runs inside the plugin: no process per task. The attachment is opened before the container starts, so a burst is
//! not lost to the rotation of the engine's own files. A reader that is slow slows the container, as a pipe does:
//! nothing is dropped here.

mod fifo;

use std::path::Path;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::engine::{Chunk, Output, Source};

use fifo::Fifo;

/// Chunks taken at once; many small lines then become one write.
const BATCH: usize = 256;
/// What the agent puts in place of the FIFOs when a task's logs are switched off.
const OFF: &str = "/dev/null";

/// Where a task's output goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    pub stdout: String,
    pub stderr: String,
}

impl Paths {
    /// `None`: nobody collects logs for this task.
    pub fn of(task: &nomad_driver_sdk::TaskConfig, collection_disabled: bool) -> Option<Self> {
        let off = collection_disabled
            || (task.stdout_path == OFF && task.stderr_path == OFF)
            || task.stdout_path.is_empty();
        (!off).then(|| Self {
            stdout: task.stdout_path.clone(),
            stderr: task.stderr_path.clone(),
        })
    }
}

/// Moves `output` into the FIFOs until it ends or `cancel` says so. Returns once everything was handed over.
pub async fn pump(output: Output, paths: Paths, cancel: CancellationToken) {
    tokio::select! {
        () = run(output, &paths) => debug!(fifo = paths.stdout, "output ended"),
        () = cancel.cancelled() => debug!(fifo = paths.stdout, "log pump cancelled"),
    }
}

async fn run(output: Output, paths: &Paths) {
    let mut stdout = Fifo::new(Path::new(&paths.stdout));
    let mut stderr = Fifo::new(Path::new(&paths.stderr));
    // Both ends are opened early: the agent's reader ends when its last writer goes.
    let mut batches = output.ready_chunks(BATCH);
    let opened = async { tokio::join!(stdout.open(), stderr.open()) };
    opened.await;
    while let Some(batch) = batches.next().await {
        let mut pending: [Pending; 2] = Default::default();
        for item in batch {
            match item {
                Ok(Chunk {
                    source: Source::Stdout,
                    bytes,
                }) => pending[0].push(bytes),
                Ok(Chunk {
                    source: Source::Stderr,
                    bytes,
                }) => pending[1].push(bytes),
                Err(error) => {
                    warn!(%error, fifo = paths.stdout, "the engine's output stream broke");
                }
            }
        }
        let [out, err] = pending;
        tokio::join!(stdout.write(out.take()), stderr.write(err.take()));
    }
}

/// Bytes of one batch; a single chunk is passed on without a copy.
#[derive(Default)]
struct Pending {
    first: Bytes,
    rest: BytesMut,
}

impl Pending {
    fn push(&mut self, bytes: Bytes) {
        if self.first.is_empty() && self.rest.is_empty() {
            self.first = bytes;
        } else {
            if self.rest.is_empty() {
                self.rest
                    .extend_from_slice(&std::mem::take(&mut self.first));
            }
            self.rest.extend_from_slice(&bytes);
        }
    }

    fn take(self) -> Bytes {
        if self.rest.is_empty() {
            self.first
        } else {
            self.rest.freeze()
        }
    }
}

#[cfg(test)]
mod tests;
