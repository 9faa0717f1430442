//! The node's side of one director's stream: keeps it open, tells on it, and hands each answer to who waits for it.
//!
//! ```text
//! relay ─ Order ─▶ inbox ─▶ Pending ─▶ stream ─▶ director
//!   ◀─ outcome, or why there is none ─────┘ broken: wait, open again, tell again
//! ```
//!
//! One task a director, so that no director waits for another. A hint that comes while the stream is gone ends a long
//! wait: it is of use now. What is wrong with a director is said once, and once that it is well again.

mod open;
mod pending;

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_stream::StreamExt;
use tracing::{debug, info, warn};

use self::open::{Stream, open};
use self::pending::{Order, PENDING_LIMIT, Pending};
use super::Outcome;
use crate::backoff::Backoff;
use crate::channel::OpenError;
use crate::config::{HostPort, Tls};
use crate::error::chain;
use crate::source::driver::Hint;

/// How long a hint that is no withdrawal is of use: by then Nomad says the same.
const HINT_LIFETIME: Duration = Duration::from_secs(1);

/// Beyond a hint's own time. Drivers wait half a second beyond it: a director that hangs must not hide from them what
/// the others answered.
const ANSWER_MARGIN: Duration = Duration::from_millis(200);

/// After a stream that lived so long, the next is opened without much waiting.
const STEADY_STREAM: Duration = Duration::from_secs(1);

/// Why a director's outcome is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error("no answer in time")]
    Late,
    #[error("a later hint about the task came first")]
    Superseded,
    #[error("more than {PENDING_LIMIT} hints wait for this director")]
    TooMany,
    #[error("refused: {0}")]
    Refused(String),
}

/// Sends hints to one director.
#[derive(Debug, Clone)]
pub(super) struct Link {
    director: String,
    inbox: mpsc::Sender<Order>,
}

/// The other end of a link: what has to run for it.
#[derive(Debug)]
pub(super) struct Line {
    director: HostPort,
    tls: Option<Tls>,
    inbox: mpsc::Receiver<Order>,
    pending: Pending,
    /// What is wrong with the director, as the log said it last.
    down: Option<String>,
}

/// Makes a link to that director, and what has to run for it.
pub(super) fn link(director: HostPort, tls: Option<Tls>) -> (Link, Line) {
    let (orders, inbox) = mpsc::channel(PENDING_LIMIT);
    let link = Link {
        director: director.to_string(),
        inbox: orders,
    };
    let line = Line {
        director,
        tls,
        inbox,
        pending: Pending::default(),
        down: None,
    };
    (link, line)
}

impl Link {
    pub(super) fn director(&self) -> &str {
        &self.director
    }

    /// Sends a hint, before any later one. The answer comes within the hint's time and the margin.
    pub(super) fn tell(
        &self,
        alloc: &str,
        task: &str,
        hint: Hint,
        limit: Duration,
    ) -> impl Future<Output = Result<Outcome, NoAnswer>> + use<> {
        let (answer, answered) = oneshot::channel();
        let until = Instant::now()
            + if hint == Hint::Withdrawn {
                limit
            } else {
                HINT_LIFETIME
            };
        let order = Order {
            alloc: alloc.to_owned(),
            task: task.to_owned(),
            hint,
            until,
            answer,
        };
        let full = self.inbox.try_send(order).is_err();
        async move {
            if full {
                return Err(NoAnswer::TooMany);
            }
            match timeout_at(until + ANSWER_MARGIN, answered).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) | Err(_) => Err(NoAnswer::Late),
            }
        }
    }
}

impl Line {
    /// Runs until nobody can send anything any more.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::default();
        while !self.inbox.is_closed() {
            let opening = open(self.director.clone(), self.tls.clone());
            match self.taking(opening).await {
                Ok(stream) => {
                    self.well();
                    let since = Instant::now();
                    let why = self.converse(stream).await;
                    debug!(director = %self.director, why, "the stream of hints is gone");
                    self.pending.broken();
                    if since.elapsed() >= STEADY_STREAM {
                        backoff.reset();
                    }
                }
                Err(error) => self.trouble(&error),
            }
            self.pause(&mut backoff).await;
        }
    }

    /// Takes hints in while something else is under way.
    async fn taking<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            // Both are cancel-safe: the work goes on where it was.
            tokio::select! {
                done = &mut work => return done,
                Some(order) = self.inbox.recv() => self.pending.take(order),
            }
        }
    }

    /// Waits before the next try; a new hint makes it short.
    async fn pause(&mut self, backoff: &mut Backoff) {
        let mut ends = Instant::now() + backoff.fail();
        let mut shortened = false;
        loop {
            tokio::select! {
                () = sleep_until(ends) => return,
                Some(order) = self.inbox.recv() => {
                    self.pending.take(order);
                    if !shortened {
                        shortened = true;
                        backoff.reset();
                        ends = ends.min(Instant::now() + backoff.fail());
                    }
                }
            }
        }
    }

    /// Sends and listens until the stream is gone; gives the reason.
    async fn converse(&mut self, mut stream: Stream) -> String {
        loop {
            while let Some(hint) = self.pending.next(Instant::now()) {
                // There is room for all that may wait: a director that leaves them lying is gone or as good as gone.
                if stream.hints.try_send(hint).is_err() {
                    return "it takes nothing".to_owned();
                }
            }
            tokio::select! {
                order = self.inbox.recv() => match order {
                    Some(order) => self.pending.take(order),
                    None => return "nobody is left who tells anything".to_owned(),
                },
                answer = stream.answers.next() => match answer {
                    Some(Ok(answer)) => {
                        if let Some(why) = self.pending.answer(answer) {
                            warn!(director = %self.director, why, "the director refused a hint");
                        }
                    }
                    Some(Err(status)) => return chain(&status),
                    None => return "the director ended it".to_owned(),
                },
            }
        }
    }

    fn trouble(&mut self, error: &OpenError) {
        let gist = error.gist();
        if self.down.as_ref() != Some(&gist) {
            warn!(
                director = %self.director,
                error = chain(error),
                "a director does not take hints; stops are not waited for, exits are seen later"
            );
            self.down = Some(gist);
        }
    }

    fn well(&mut self) {
        if self.down.take().is_some() {
            info!(director = %self.director, "the director takes hints again");
        } else {
            debug!(director = %self.director, "the stream of hints is open");
        }
    }
}
