//! Where one stream's bytes go: the agent's FIFO, or the log files themselves.
//!
//! ```text
//!  present:   bytes ─▶ FIFO ─▶ outbox, until they are seen in the files
//!      │ nobody reads for a while, or the reader is gone: what the files lack is taken back from pipe and outbox
//!      ▼
//!  absent:    bytes ─▶ files; now and then some go to the FIFO, and once they are read the sink listens again
//! ```
//!
//! logmon's reader ends for good when its last writer goes, and stays there as a reader that does not read. An agent
//! that starts again has it replaced a moment after it has had the task recovered; after a crash of the plugin alone
//! nobody replaces it. So neither a write that succeeds nor a reader that is there means that a line has arrived:
//! the files alone say that. File work is done off the workers.

mod reconcile;

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::directory::{Directory, off_worker};
use super::files::{Files, Position};
use super::outbox::Outbox;
use super::pipe::Pipe;
use super::{LogPlace, Report};

/// The pause between two looks for a reader.
const READER_POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The pause between two looks whether a present reader has read all.
const READ_POLL_INTERVAL: Duration = Duration::from_millis(5);
/// A reader that took nothing of a filled pipe for this long has ended.
const READER_SILENCE: Duration = Duration::from_secs(2);
/// The pause between two looks at a reader that may have ended.
const DOUBT_INTERVAL: Duration = Duration::from_millis(500);
/// The pause between two trials whether there is a reader again, and the time that one takes.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
const PROBE_TIME: Duration = Duration::from_millis(100);
/// A trial risks so many bytes.
const PROBE_SIZE: usize = 4096;
/// The pause between two writes into the files, unless there is much to write.
const APPEND_INTERVAL: Duration = Duration::from_millis(20);
const APPEND_SIZE: usize = 256 * 1024;
const APPEND_PIECES: usize = 64;
/// The pause between two warnings about the same trouble.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

pub(super) struct Sink {
    directory: Arc<Directory>,
    fifo: String,
    files: Files,
    report: Report,
    pipe: Option<Pipe>,
    reader: Reader,
    /// The bytes to write, first to last.
    queue: VecDeque<Bytes>,
    outbox: Outbox,
    /// Where the files ended when all of the outbox had arrived.
    base: Option<Position>,
    /// The number of bytes that went into the pipe.
    pipe_count: u64,
    last_write: Instant,
    suspicion: Option<Suspicion>,
    last_warning: Option<Instant>,
    /// How often the files were written.
    appends: u64,
    /// The user knows that this stream's files cannot be written.
    has_report: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    Present,
    Absent { probe_time: Instant },
}

/// The moment since which nothing was read, and the number of bytes read by then.
#[derive(Debug)]
struct Suspicion {
    since: Instant,
    count: u64,
}

impl Sink {
    pub(super) fn new(place: &LogPlace, fifo: &str, report: Report) -> Self {
        Self {
            directory: Arc::clone(&place.directory),
            fifo: fifo.to_owned(),
            files: Files::beside(Arc::clone(&place.directory), fifo),
            report,
            pipe: None,
            reader: Reader::Present,
            queue: VecDeque::new(),
            outbox: Outbox::default(),
            base: None,
            pipe_count: 0,
            last_write: Instant::now(),
            suspicion: None,
            last_warning: None,
            appends: 0,
            has_report: false,
        }
    }

    #[cfg(test)]
    pub(super) fn appends(&self) -> u64 {
        self.appends
    }

    pub(super) fn files(&self) -> &Files {
        &self.files
    }

    /// The files are written instead of the FIFO.
    pub(super) fn is_aside(&self) -> bool {
        self.reader != Reader::Present
    }

    /// Waits until there is somebody at the other end, or it is clear that nobody will be.
    pub(super) async fn open(&mut self) {
        while self.pipe.is_none() && self.reader == Reader::Present {
            self.connect().await;
        }
    }

    /// Hands `chunks` over, however long it takes.
    pub(super) async fn write(&mut self, chunks: &[Bytes]) {
        match chunks {
            [] => return,
            [only] => self.queue.push_back(only.clone()),
            many => self.queue.push_back(many.concat().into()),
        }
        if !self.may_wait() {
            self.flush().await;
        }
    }

    /// A file is opened for each write into it: better for many lines than for one.
    fn may_wait(&self) -> bool {
        self.is_aside()
            && self.last_write.elapsed() < APPEND_INTERVAL
            && self.queue.len() < APPEND_PIECES
            && self.queue.iter().map(Bytes::len).sum::<usize>() < APPEND_SIZE
    }

    async fn flush(&mut self) {
        while let Some(front) = self.queue.front().cloned() {
            if self.is_aside() && self.queue.len() > 1 {
                let content = self.queue.make_contiguous().concat();
                self.queue = VecDeque::from([content.into()]);
                continue;
            }
            if front.is_empty() {
                self.queue.pop_front();
                continue;
            }
            match self.reader {
                Reader::Present => self.hand(&front).await,
                Reader::Absent { probe_time } if probe_time.elapsed() >= PROBE_INTERVAL => {
                    self.probe(front).await;
                }
                Reader::Absent { .. } => self.append(front).await,
            }
        }
    }

    /// Drops so much of the queue's front.
    fn advance(&mut self, count: usize) {
        if let Some(front) = self.queue.front_mut() {
            front.advance(count);
        }
    }

    /// Into the pipe, as much as it takes.
    async fn hand(&mut self, bytes: &[u8]) {
        let Some(pipe) = &mut self.pipe else {
            return self.connect().await;
        };
        match timeout(DOUBT_INTERVAL, pipe.write(bytes)).await {
            Ok(Ok(count)) => {
                self.remember(&bytes[..count]);
                self.doubt().await;
            }
            Ok(Err(error)) => {
                self.warn(&error, "the agent's log collector is gone");
                self.lose_reader().await;
            }
            Err(_) => self.doubt().await,
        }
    }

    /// The front of the queue went into the pipe.
    fn remember(&mut self, bytes: &[u8]) {
        self.advance(bytes.len());
        self.outbox.push(bytes);
        self.pipe_count = self.pipe_count.wrapping_add(bytes.len() as u64);
        self.last_write = Instant::now();
    }

    /// One look for a reader.
    async fn connect(&mut self) {
        let (directory, fifo) = (Arc::clone(&self.directory), self.fifo.clone());
        let fifo = off_worker(move || directory.fifo(&fifo)).await;
        match fifo.and_then(Pipe::new) {
            Ok(pipe) => {
                self.pipe = Some(pipe);
                self.suspicion = None;
                self.base = self.position().await;
            }
            Err(error) => {
                if self.silent_for(0) >= READER_SILENCE {
                    self.warn(&error, "nobody reads the task's log, writing its files");
                    self.step_aside().await;
                } else {
                    sleep(READER_POLL_INTERVAL).await;
                }
            }
        }
    }

    /// Steps aside when nobody took anything out of the pipe for too long.
    async fn doubt(&mut self) {
        let unread = self.unread();
        if unread == 0 {
            self.suspicion = None;
        } else if self.silent_for(self.pipe_count.wrapping_sub(unread as u64)) >= READER_SILENCE {
            self.step_aside().await;
        }
    }

    /// How long nothing was read, of which so much has been read by now.
    fn silent_for(&mut self, count: u64) -> Duration {
        match &self.suspicion {
            Some(earlier) if earlier.count == count => earlier.since.elapsed(),
            _ => {
                let since = Instant::now();
                self.suspicion = Some(Suspicion { since, count });
                Duration::ZERO
            }
        }
    }

    pub(super) fn unread(&self) -> usize {
        self.pipe.as_ref().map_or(0, Pipe::unread)
    }

    /// Offers a little to a reader who may be there again. What he does not take is written into the files.
    async fn probe(&mut self, bytes: Bytes) {
        let probe_time = Instant::now();
        self.reader = Reader::Absent { probe_time };
        self.base = self.position().await;
        if self.pipe.is_none() {
            let (directory, fifo) = (Arc::clone(&self.directory), self.fifo.clone());
            let fifo = off_worker(move || directory.fifo(&fifo)).await;
            self.pipe = fifo.and_then(Pipe::new).ok();
        }
        let offer = &bytes[..bytes.len().min(PROBE_SIZE)];
        let count = match &mut self.pipe {
            Some(pipe) => offer_to(pipe, offer).await,
            None => 0,
        };
        if count == 0 {
            return self.append(bytes).await;
        }
        let appends = self.appends;
        info!(
            fifo = self.fifo,
            appends, "the agent collects the task's log again"
        );
        self.reader = Reader::Present;
        self.suspicion = None;
        self.remember(&offer[..count]);
    }

    /// Into the files.
    async fn append(&mut self, bytes: Bytes) {
        let (files, content) = (self.files.clone(), bytes.clone());
        self.last_write = Instant::now();
        self.appends = self.appends.wrapping_add(1);
        let outcome = off_worker(move || Ok(files.append(&content))).await;
        let (length, result) = outcome.unwrap_or_else(|error| (0, Err(error)));
        self.outbox.push(&bytes[..length]);
        self.outbox.settle();
        self.advance(length);
        match result {
            Ok(()) => {}
            // A job that spoils its own log directory loses its log; it must not wait for ever for that.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                self.advance(bytes.len().saturating_sub(length));
                if !self.has_report {
                    self.has_report = true;
                    (self.report)(format!("log lines are lost: {error}"));
                }
            }
            Err(error) => {
                self.warn(&error, "the task's log cannot be written, trying again");
                sleep(DOUBT_INTERVAL).await;
            }
        }
    }

    async fn position(&self) -> Option<Position> {
        let files = self.files.clone();
        off_worker(move || files.position()).await.ok()
    }

    fn warn(&mut self, error: &io::Error, message: &'static str) {
        let silent = |last: Instant| last.elapsed() < WARNING_INTERVAL;
        if !self.last_warning.is_some_and(silent) {
            self.last_warning = Some(Instant::now());
            warn!(%error, fifo = self.fifo, "{message}");
        }
    }
}

/// How many of these bytes were read soon; the others are taken back.
async fn offer_to(pipe: &mut Pipe, offer: &[u8]) -> usize {
    if pipe.reconnect().is_err() {
        return 0;
    }
    let begin = Instant::now();
    let Ok(Ok(count)) = timeout(PROBE_TIME, pipe.write(offer)).await else {
        return 0;
    };
    while pipe.unread() > 0 && begin.elapsed() < PROBE_TIME {
        sleep(READ_POLL_INTERVAL).await;
    }
    count.saturating_sub(pipe.drain().unwrap_or_default())
}
