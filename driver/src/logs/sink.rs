//! Where one stream's bytes go: the agent's FIFO, or the log files themselves.
//!
//! The FIFO is opened without blocking (the reader may come later) and without following links (the directory is
//! writable by the task), then held. logmon's reader ends for good when its last writer goes; an agent that starts
//! again starts it again, but after a crash of the plugin alone nobody does. Bytes then stay in the pipe. When that is
//! seen, they are taken back out and this sink writes the files from there on.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use nix::libc;
use rustix::io::ioctl_fionread;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe::Sender;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::Files;

/// Between two looks for a reader.
const LOOK: Duration = Duration::from_millis(50);
/// A reader that took nothing of a filled pipe for this long has ended.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks at a reader that may have ended.
const DOUBT: Duration = Duration::from_millis(500);
/// logmon keeps what it read for a tenth of a second before it writes it.
const FLUSH: Duration = Duration::from_millis(200);
/// Somebody else who keeps writing must not hold the task's log back for ever.
const LOOKS: u32 = 100;
/// The patience with what an earlier process left in the pipe.
const SETTLE: Duration = Duration::from_millis(300);

#[derive(Debug)]
pub(super) struct Sink {
    fifo: PathBuf,
    files: Files,
    way: Way,
    suspicion: Option<Suspicion>,
}

/// Since when there were unread bytes, and what the files looked like then.
#[derive(Debug)]
struct Suspicion {
    since: Instant,
    stamp: Option<(u64, SystemTime)>,
}

#[derive(Debug)]
enum Way {
    Closed,
    Fifo(Sender),
    Files,
}

impl Sink {
    pub(super) fn new(fifo: &str) -> Self {
        let fifo = PathBuf::from(fifo);
        Self {
            files: Files::beside(&fifo),
            fifo,
            way: Way::Closed,
            suspicion: None,
        }
    }

    pub(super) fn files(&self) -> &Files {
        &self.files
    }

    /// Waits until there is somebody at the other end.
    pub(super) async fn open(&mut self) {
        let mut waited = Duration::ZERO;
        while matches!(self.way, Way::Closed) {
            match open(&self.fifo) {
                Ok(sender) => self.way = Way::Fifo(sender),
                Err(error) => {
                    if waited.as_secs() >= 10 {
                        warn!(%error, fifo = %self.fifo.display(), "nobody reads the task's log yet");
                        waited = Duration::ZERO;
                    }
                    sleep(LOOK).await;
                    waited += LOOK;
                }
            }
        }
    }

    /// After another process wrote here: waits until what it wrote has arrived in the files, and throws away what
    /// nobody will read. Both make the files the truth about what has arrived.
    pub(super) async fn settle(&mut self) {
        if self.stuck(SETTLE).await {
            let dropped = self.take_back().map_or(0, |bytes| bytes.len());
            info!(fifo = %self.fifo.display(), dropped, "took unread bytes of an earlier driver process out of the pipe");
        }
        let mut stamp = self.files.stamp();
        let mut quiet = Duration::ZERO;
        for _ in 0..LOOKS {
            if quiet >= FLUSH {
                return;
            }
            sleep(LOOK).await;
            let now = self.files.stamp();
            quiet = if now == stamp && self.unread() == 0 {
                quiet + LOOK
            } else {
                Duration::ZERO
            };
            stamp = now;
        }
    }

    /// Looks whether the reader still reads, while nothing else is to be done. Never completes.
    pub(super) async fn watch(&mut self) {
        loop {
            sleep(DOUBT).await;
            self.doubt();
        }
    }

    /// Hands `chunks` over, however long it takes.
    pub(super) async fn write(&mut self, chunks: &[Bytes]) {
        let mut left: Bytes = match chunks {
            [] => return,
            [one] => one.clone(),
            many => many.concat().into(),
        };
        while !left.is_empty() {
            self.open().await;
            let written = match &mut self.way {
                Way::Closed => continue,
                Way::Files => match self.files.append(std::slice::from_ref(&left)) {
                    Ok(()) => return,
                    Err(error) => Err(error),
                },
                Way::Fifo(sender) => {
                    let written = timeout(DOUBT, sender.write(&left)).await;
                    self.doubt();
                    match written {
                        Ok(written) => written,
                        Err(_) => continue,
                    }
                }
            };
            match written {
                Ok(count) => drop(left.split_to(count)),
                Err(error) => {
                    warn!(%error, fifo = %self.fifo.display(), "the task's log cannot be written, trying again");
                    if matches!(self.way, Way::Fifo(_)) {
                        self.way = Way::Closed;
                    }
                    sleep(LOOK).await;
                }
            }
        }
    }

    /// Turns to the files when nobody took anything out of the pipe for too long.
    fn doubt(&mut self) {
        if self.unread() == 0 {
            self.suspicion = None;
            return;
        }
        match &self.suspicion {
            Some(earlier) if earlier.since.elapsed() < PATIENCE => {}
            Some(earlier) if earlier.stamp == self.files.stamp() => self.turn_to_files(),
            _ => {
                let stamp = self.files.stamp();
                self.suspicion = Some(Suspicion {
                    since: Instant::now(),
                    stamp,
                });
            }
        }
    }

    /// Bytes are in the pipe, and neither it nor the files moved for `patience`.
    async fn stuck(&mut self, patience: Duration) -> bool {
        let looks = u32::try_from(patience.as_millis() / LOOK.as_millis()).unwrap_or(1);
        let before = self.state();
        for _ in 0..looks {
            if self.unread() == 0 || self.state() != before {
                return false;
            }
            sleep(LOOK).await;
        }
        true
    }

    fn state(&mut self) -> (u64, Option<(u64, SystemTime)>) {
        (self.unread(), self.files.stamp())
    }

    fn unread(&mut self) -> u64 {
        if let Way::Closed = self.way
            && let Ok(sender) = open(&self.fifo)
        {
            self.way = Way::Fifo(sender);
        }
        match &self.way {
            Way::Fifo(sender) => ioctl_fionread(sender).unwrap_or(0),
            Way::Closed | Way::Files => 0,
        }
    }

    fn turn_to_files(&mut self) {
        let unread = self.take_back().unwrap_or_default();
        warn!(fifo = %self.fifo.display(), unread = unread.len(), "the agent's log collector has ended for this task, writing its files from here");
        self.way = Way::Files;
        if let Err(error) = self.files.append(&[Bytes::from(unread)]) {
            warn!(%error, fifo = %self.fifo.display(), "what was unread is lost");
        }
    }

    /// Everything in the pipe. The write end stays open meanwhile, or the bytes would go with it.
    fn take_back(&self) -> io::Result<Vec<u8>> {
        let mut pipe = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW)
            .open(&self.fifo)?;
        let mut bytes = Vec::new();
        match pipe.read_to_end(&mut bytes) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(bytes),
        }
    }
}

fn open(path: &Path) -> io::Result<Sender> {
    let file = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW)
        .open(path)?;
    Sender::from_file(file).map_err(|error| match error.kind() {
        ErrorKind::InvalidInput => io::Error::other("not a FIFO"),
        _ => error,
    })
}
