//! When a reader may have ended: what is in the files, what is in the pipe, and what is in neither.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{debug, info};

use super::{APPEND_INTERVAL, DOUBT, LOOK, READ_LOOK, READER_SILENCE, Reader, Sink};
use crate::logs::directory::off_worker;

/// logmon keeps what it read for a tenth of a second before it writes it.
const FLUSH: Duration = Duration::from_millis(200);
/// Somebody else who keeps writing must not hold the task's log back for ever.
const LOOKS: u32 = 100;
/// How long what an earlier process left in the pipe may stay unread.
const LEFTOVER_SILENCE: Duration = Duration::from_millis(300);

impl Sink {
    /// Completes when [`Sink::attend`] has something to do. Cancel-safe: it only looks.
    pub(in super::super) async fn watch(&mut self) {
        loop {
            if self.is_aside() && !self.queue.is_empty() {
                return sleep(APPEND_INTERVAL).await;
            }
            sleep(DOUBT).await;
            let under_way = self.unread() > 0
                || self.outbox.pending() > 0 && self.last_write.elapsed() >= DOUBT;
            if self.reader == Reader::Listening && under_way {
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
            let found = off_worker(move || Ok((files.end()?, files.position()?))).await;
            match found {
                Ok((Some(end), position)) if self.outbox.is_settled_by(&end.tail) => {
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
        while self.reader == Reader::Listening && self.unread() > 0 {
            sleep(READ_LOOK).await;
            self.doubt().await;
        }
        self.flush().await;
    }

    /// After another process wrote here, or the engine's stream broke: waits until what was written has arrived in the
    /// files, and throws away what nobody will read. Both make the files the truth about what has arrived.
    pub(in super::super) async fn settle(&mut self) {
        if self.pipe.is_none() && self.reader == Reader::Listening {
            self.connect().await;
        }
        let mut left_over = self.unread();
        let mut since = Instant::now();
        for _ in 0..LOOKS {
            if left_over == 0 {
                break;
            }
            sleep(LOOK).await;
            let unread = self.unread();
            if unread != left_over {
                (left_over, since) = (unread, Instant::now());
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
            let probed = Instant::now();
            self.reader = Reader::Absent { probed };
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
                let probed = Instant::now();
                self.reader = Reader::Absent { probed };
                break;
            }
            sleep(LOOK).await;
        }
        self.reconcile(drained).await;
    }

    /// Puts what was handed over and is neither in the files nor on the way there in front of the queue. `drained`
    /// bytes at the end of it are known to be nowhere.
    async fn reconcile(&mut self, drained: usize) {
        self.suspicion = None;
        self.quiet().await;
        let (files, base) = (self.files.clone(), self.base);
        let found = off_worker(move || {
            let grown = base.map(|base| files.grown_since(base)).transpose()?;
            Ok((files.end()?, grown.flatten(), files.position()?))
        });
        let missing = match found.await {
            Ok((end, grown, position)) => {
                self.base = Some(position);
                let tail = end.map(|end| end.tail).unwrap_or_default();
                self.outbox.missing(&tail, grown)
            }
            Err(error) => {
                self.warn(&error, "the task's log files cannot be read");
                None
            }
        };
        let missing = missing.unwrap_or_else(|| {
            debug!(fifo = self.fifo, "the log files end with something else");
            let missing = self.outbox.take_back(drained);
            self.outbox.settle();
            missing
        });
        if !missing.is_empty() {
            info!(
                fifo = self.fifo,
                bytes = missing.len(),
                "writing again what the agent's log collector did not"
            );
            self.queue.push_front(missing.into());
        }
    }

    /// Waits until pipe and files have not moved for as long as a reader keeps what it read.
    async fn quiet(&mut self) {
        let mut position = self.position().await;
        let mut quiet = Duration::ZERO;
        for _ in 0..LOOKS {
            if quiet >= FLUSH {
                return;
            }
            sleep(LOOK).await;
            let now = self.position().await;
            let moved = now != position || self.unread() > 0;
            quiet = if moved {
                Duration::ZERO
            } else {
                quiet.saturating_add(LOOK)
            };
            position = now;
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
