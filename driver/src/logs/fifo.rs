//! The writing end of one FIFO that the agent's log collector reads.
//!
//! Opened without blocking (the reader may come later) and without following links (the directory is writable by the
//! task), then held. When the reader goes away mid-way, it is opened again and what was not taken is written again.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use nix::libc;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe::Sender;
use tokio::time::sleep;
use tracing::{debug, warn};

/// Between two looks for a reader.
const RETRY: Duration = Duration::from_millis(50);
/// Looks without a reader before it is worth a warning.
const PATIENCE: u32 = 200;

#[derive(Debug)]
pub(super) struct Fifo {
    path: PathBuf,
    sender: Option<Sender>,
}

impl Fifo {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            sender: None,
        }
    }

    /// Waits until there is a reader.
    pub(super) async fn open(&mut self) {
        let mut looks = 0;
        while self.sender.is_none() {
            match open(&self.path) {
                Ok(sender) => self.sender = Some(sender),
                Err(error) => {
                    looks += 1;
                    if looks % PATIENCE == 0 {
                        warn!(%error, fifo = %self.path.display(), "nobody reads the task's log yet");
                    }
                    sleep(RETRY).await;
                }
            }
        }
    }

    /// Hands `bytes` over, however long it takes.
    pub(super) async fn write(&mut self, mut bytes: Bytes) {
        while !bytes.is_empty() {
            self.open().await;
            let Some(sender) = &mut self.sender else {
                continue;
            };
            match sender.write(&bytes).await {
                Ok(written) => drop(bytes.split_to(written)),
                Err(error) => {
                    debug!(%error, fifo = %self.path.display(), "the log's reader went away, waiting for the next");
                    self.sender = None;
                    sleep(RETRY).await;
                }
            }
        }
    }
}

fn open(path: &Path) -> io::Result<Sender> {
    let file = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW)
        .open(path)?;
    Sender::from_file(file).map_err(|error| {
        if error.kind() == ErrorKind::InvalidInput {
            io::Error::other("not a FIFO")
        } else {
            error
        }
    })
}
