//! After a reader may have ended, finds out which bytes are in the files, which are in the pipe, and which are in neither.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{debug, info};

use super::{
    APPEND_INTERVAL, DOUBT_INTERVAL, READ_POLL_INTERVAL, READER_POLL_INTERVAL, READER_SILENCE,
    Reader, Sink,
};
use crate::logs::directory::off_worker;

/// logmon keeps what it read for a tenth of a second before it writes it.
const LOGMON_FLUSH_TIME: Duration = Duration::from_millis(200);
/// So many looks are taken: another writer must not hold the task's log back for ever.
const LOOKS_MAX: u32 = 100;
/// How long what an earlier process left in the pipe may stay unread.
const LEFTOVER_SILENCE: Duration = Duration::from_millis(300);

impl Sink {
    /// Completes when [`Sink::attend`] has something to do. Cancel-safe: it only looks.
    pub(in super::super) async fn watch(&mut self) {
        loop {
            if self.is_aside() && !self.queue.is_empty() {
                return sleep(APPEND_INTERVAL).await;
            }
            sleep(DOUBT_INTERVAL).await;
            let under_way = self.unread() > 0
                || self.outbox.pending() > 0 && self.last_write.elapsed() >= DOUBT_INTERVAL;
            if self.reader == Reader::Present && under_way {
                return;
            }
        }
    }

    /// Looks whether what was handed over is read and written, and does again what was not.
    pub(in super::super) async fn attend(&mut self) {
        if self.is_aside() {
            // Nothing is under way.
        } else if self.unread() > 0 {
            self.doubt().await;
        } else if self.outbox.pending() > 0 {
            let files = self.files.clone();
            let result = off_worker(move || Ok((files.end()?, files.position()?))).await;
            match result {
                Ok((Some(end), position)) if self.outbox.agrees_with(&end.tail) => {
                    self.outbox.settle();
                    self.base = Some(position);
                }
                _ if self.last_write.elapsed() >= READER_SILENCE => self.reconcile(0).await,
                _ => {}
            }
        }
        self.flush().await;
    }

    /// The container has ended: returns once the pipe is read, or what is in it is in the files.
    pub(in super::super) async fn finish(&mut self) {
        while self.reader == Reader::Present && self.unread() > 0 {
            sleep(READ_POLL_INTERVAL).await;
            self.doubt().await;
        }
        self.flush().await;
    }

    /// After another process wrote here, or the engine's stream broke: waits until what was written has arrived in the
    /// files, and throws away what nobody will read. Both make the files the truth about what has arrived.
    pub(in super::super) async fn settle(&mut self) {
        if self.pipe.is_none() && self.reader == Reader::Present {
            self.connect().await;
        }
        let mut remainder = self.unread();
        let mut since = Instant::now();
        for _ in 0..LOOKS_MAX {
            if remainder == 0 {
                break;
            }
            sleep(READER_POLL_INTERVAL).await;
            let unread = self.unread();
            if unread != remainder {
                (remainder, since) = (unread, Instant::now());
            } else if since.elapsed() >= LEFTOVER_SILENCE {
                let drained = self.drain();
                info!(
                    fifo = self.fifo,
                    drained, "took unread bytes out of the pipe"
                );
                break;
            }
        }
        self.quiet().await;
        // Whatever is not in the files is read from the engine once more.
        self.queue.clear();
        self.outbox.settle();
        self.suspicion = None;
        self.base = self.position().await;
    }

    /// Nobody reads: from here on the files are written, until somebody reads again.
    pub(super) async fn step_aside(&mut self) {
        let unread = self.unread();
        let drained = self.drain();
        if drained == unread {
            info!(
                fifo = self.fifo,
                unread, "the agent's log collector does not read, writing the task's log files"
            );
            let probe_time = Instant::now();
            self.reader = Reader::Absent { probe_time };
        }
        self.reconcile(drained).await;
    }

    /// The reader has closed his end: another may come in a moment, and must not read what is after a gap.
    pub(super) async fn lose_reader(&mut self) {
        let drained = self.drain();
        let since = Instant::now();
        while let Some(pipe) = &mut self.pipe {
            if pipe.reconnect().is_ok() {
                break;
            }
            if since.elapsed() >= READER_SILENCE {
                let probe_time = Instant::now();
                self.reader = Reader::Absent { probe_time };
                break;
            }
            sleep(READER_POLL_INTERVAL).await;
        }
        self.reconcile(drained).await;
    }

    /// Puts what was handed over and is neither in the files nor on the way there in front of the queue. `drained`
    /// bytes at the end of it are known to be nowhere.
    async fn reconcile(&mut self, drained: usize) {
        self.suspicion = None;
        self.quiet().await;
        let (files, base) = (self.files.clone(), self.base);
        let result = off_worker(move || {
            let growth = base.map(|base| files.growth_since(base)).transpose()?;
            Ok((files.end()?, growth.flatten(), files.position()?))
        });
        let gap = match result.await {
            Ok((end, growth, position)) => {
                self.base = Some(position);
                let tail = end.map(|end| end.tail).unwrap_or_default();
                self.outbox.take_gap(&tail, growth)
            }
            Err(error) => {
                self.warn(&error, "the task's log files cannot be read");
                None
            }
        };
        let gap = gap.unwrap_or_else(|| {
            debug!(fifo = self.fifo, "the log files end with something else");
            let gap = self.outbox.take_back(drained);
            self.outbox.settle();
            gap
        });
        if !gap.is_empty() {
            info!(
                fifo = self.fifo,
                bytes = gap.len(),
                "writing again what the agent's log collector did not"
            );
            self.queue.push_front(gap.into());
        }
    }

    /// Waits until pipe and files have not moved for as long as a reader keeps what it read.
    async fn quiet(&mut self) {
        let mut position = self.position().await;
        let mut quiet = Duration::ZERO;
        for _ in 0..LOOKS_MAX {
            if quiet >= LOGMON_FLUSH_TIME {
                return;
            }
            sleep(READER_POLL_INTERVAL).await;
            let next = self.position().await;
            let is_moving = next != position || self.unread() > 0;
            quiet = if is_moving {
                Duration::ZERO
            } else {
                quiet.saturating_add(READER_POLL_INTERVAL)
            };
            position = next;
        }
    }

    fn drain(&mut self) -> usize {
        let Some(pipe) = &self.pipe else { return 0 };
        match pipe.drain() {
            Ok(count) => count,
            Err(error) => {
                self.warn(&error, "the pipe cannot be emptied");
                0
            }
        }
    }
}
