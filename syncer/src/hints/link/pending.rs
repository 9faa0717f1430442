//! The hints that a director has not answered, in the order in which they came. No clock, no I/O.
//!
//! ```text
//! taken ─▶ to be told ─▶ told ─▶ answered
//!              ▲           │
//!              └─ broken ──┘   unless nobody waits any more, or a later hint about the task has come
//! ```

use std::collections::{BTreeMap, VecDeque};

use nomad_ipvs_proto::hints::answer::Result as Verdict;
use nomad_ipvs_proto::hints::{Answer, Hint as Message};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::NoAnswer;
use crate::hints::{Outcome, wire};
use crate::source::driver::Hint;

/// How many hints may wait: more than a node's tasks at once. With a director that answers, a few wait.
pub(super) const PENDING_LIMIT: usize = 1024;

/// One hint to one director.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) alloc: String,
    pub(super) task: String,
    pub(super) hint: Hint,
    /// When the hint is of no use any more.
    pub(super) until: Instant,
    pub(super) answer: oneshot::Sender<Result<Outcome, NoAnswer>>,
}

#[derive(Debug)]
struct Waiting {
    order: Order,
    /// Whether a later hint about the same task has come, so that this one is not sent again.
    superseded: bool,
}

/// All that wait, by their number.
#[derive(Debug, Default)]
pub(super) struct Pending {
    hints: BTreeMap<u64, Waiting>,
    /// Hints that were not sent on this stream.
    untold: VecDeque<u64>,
    count: u64,
}

impl Pending {
    /// Takes a hint in. It ends the tries of those about the same task.
    pub(super) fn take(&mut self, order: Order) {
        self.hints
            .retain(|_, waiting| !waiting.order.answer.is_closed());
        self.untold.retain(|number| self.hints.contains_key(number));
        let same = self.hints.iter_mut().filter(|(_, waiting)| {
            waiting.order.alloc == order.alloc && waiting.order.task == order.task
        });
        for (_, waiting) in same {
            waiting.superseded = true;
        }
        self.end_superseded();
        if self.hints.len() >= PENDING_LIMIT {
            let _ = order.answer.send(Err(NoAnswer::TooMany));
            return;
        }
        self.count += 1;
        self.untold.push_back(self.count);
        let superseded = false;
        self.hints.insert(self.count, Waiting { order, superseded });
    }

    /// Gives the next hint to send, if any; it counts as sent.
    pub(super) fn next(&mut self, now: Instant) -> Option<Message> {
        while let Some(number) = self.untold.pop_front() {
            let Some(Waiting { order, .. }) = self.hints.get(&number) else {
                continue;
            };
            if order.until <= now {
                self.end(number, Err(NoAnswer::Late));
                continue;
            }
            let left = order.until - now;
            let deadline = (order.hint == Hint::Withdrawn)
                .then(|| prost_types::Duration::try_from(left).ok())
                .flatten();
            return Some(Message {
                number,
                alloc_id: order.alloc.clone(),
                task: order.task.clone(),
                kind: wire::kind(order.hint).into(),
                deadline,
            });
        }
        None
    }

    /// Takes the director's answer; gives the reason if it refused.
    pub(super) fn answer(&mut self, answer: Answer) -> Option<String> {
        let outcome = match answer.result {
            Some(Verdict::Outcome(number)) => {
                let known = number.try_into().ok().and_then(wire::outcome);
                known.ok_or_else(|| "an outcome that is not known here".to_owned())
            }
            Some(Verdict::Refused(why)) => Err(why),
            None => Err("an answer without an outcome".to_owned()),
        };
        let why = outcome.as_ref().err().cloned();
        self.end(answer.number, outcome.map_err(NoAnswer::Refused));
        why
    }

    /// Notes that the stream is gone: what has no answer is sent again on the next one, if it is still of use.
    pub(super) fn broken(&mut self) {
        self.untold = self.hints.keys().copied().collect();
        self.end_superseded();
    }

    /// Ends those that are not sent and that a later hint has replaced.
    fn end_superseded(&mut self) {
        let superseded = |number: &u64| self.hints.get(number).is_some_and(|hint| hint.superseded);
        let (over, untold) = self.untold.iter().copied().partition(superseded);
        self.untold = untold;
        let over: VecDeque<u64> = over;
        for number in over {
            self.end(number, Err(NoAnswer::Superseded));
        }
    }

    fn end(&mut self, number: u64, outcome: Result<Outcome, NoAnswer>) {
        if let Some(waiting) = self.hints.remove(&number) {
            let _ = waiting.order.answer.send(outcome);
        }
    }
}

#[cfg(test)]
mod tests;
