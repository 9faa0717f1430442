//! Which service to read next: those that an answer named first, then those in doubt, then the one read longest ago. Pure.
//!
//! Consul's lists say that something changed, and of most changes whose. Of a registration that leaves the union of its
//! service's tags as it was they do not: then every service that was not read since is in *doubt* and is read again,
//! those that changed last first. Doubts, failures and the slow round of all are held to a [`Budget`]; what is named is
//! read at once. Many failures in a row without a success are the server's, not a service's, and pause everything.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;

/// After that long every service is read again, whatever the lists say.
const ROUND_INTERVAL: Duration = Duration::from_mins(10);

/// How many of those that changed last are read first when something changed and nobody says what.
const LIKELY_LIMIT: usize = 32;

/// How many reads have to fail in a row, none succeeding, until it is the server.
const OUTAGE_FAILURES: u32 = 4;

/// All services that are read by turns.
#[derive(Debug)]
pub(super) struct Agenda {
    services: BTreeMap<Arc<str>, Service>,
    /// Services to read at once.
    named: VecDeque<Arc<str>>,
    /// Services to read if the budget allows.
    likely: VecDeque<Arc<str>>,
    /// Services in order of their last read; neither those being read nor those that wait after a failure.
    rested: BTreeSet<(Instant, Arc<str>)>,
    /// After a failure: when to try again.
    retries: BTreeSet<(Instant, Arc<str>)>,
    /// Services that changed last, the latest first.
    changed: VecDeque<Arc<str>>,
    /// What was read before this moment is in doubt.
    doubted: Option<Instant>,
    budget: Budget,
    failures_in_row: u32,
    backoff: Backoff,
    paused: Option<Instant>,
}

#[derive(Debug, Default)]
struct Service {
    state: ReadState,
    /// When the answer came that named it.
    named_at: Option<Instant>,
    /// The highest index of its answers.
    mark: Option<u64>,
    backoff: Backoff,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum ReadState {
    /// Waits in `named`.
    #[default]
    Named,
    /// When the read started.
    Reading(Instant),
    Rested(Instant),
    Failed(Instant),
}

/// One read to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) name: Arc<str>,
    /// When the answer came that led to it.
    pub(super) named_at: Option<Instant>,
    /// The highest index that it was read with; a lower one is the past.
    pub(super) mark: Option<u64>,
}

/// How a read ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Read {
        index: u64,
        changed: bool,
    },
    /// It has no instances any more and nobody asks for it.
    Gone,
    Failed,
}

impl Agenda {
    /// An agenda without any service.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            services: BTreeMap::new(),
            named: VecDeque::new(),
            likely: VecDeque::new(),
            rested: BTreeSet::new(),
            retries: BTreeSet::new(),
            changed: VecDeque::new(),
            doubted: None,
            budget: Budget::full(now),
            failures_in_row: 0,
            backoff: Backoff::default(),
            paused: None,
        }
    }

    /// Adds a service, to read at once; an answer that came at `at` named it.
    pub(super) fn follow(&mut self, name: &Arc<str>, at: Instant) {
        if !self.services.contains_key(name) {
            let service = Service {
                named_at: Some(at),
                ..Service::default()
            };
            self.services.insert(Arc::clone(name), service);
            self.named.push_back(Arc::clone(name));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.services.is_empty()
    }

    /// An answer that came at `at` says that it changed.
    pub(super) fn name(&mut self, name: &str, at: Instant) {
        let Some((name, service)) = self.services.get_key_value(name) else {
            return;
        };
        let (name, state) = (Arc::clone(name), service.state);
        match state {
            // Read when its turn comes, at the latest after the read that is under way.
            ReadState::Named | ReadState::Reading(_) => {}
            ReadState::Rested(since) if since > at => return,
            ReadState::Rested(since) => {
                self.rested.remove(&(since, Arc::clone(&name)));
                self.named.push_back(Arc::clone(&name));
            }
            // Its next try comes anyway.
            ReadState::Failed(_) => return,
        }
        if let Some(service) = self.services.get_mut(&name) {
            service.named_at.get_or_insert(at);
            if !matches!(state, ReadState::Reading(_)) {
                service.state = ReadState::Named;
            }
        }
    }

    /// An answer that came at `at` says that something changed, and not what.
    pub(super) fn doubt(&mut self, at: Instant) {
        self.doubted = Some(at);
        self.likely = self.changed.clone();
    }

    /// Gives what to read now, or until when there is nothing to read.
    pub(super) fn next(&mut self, now: Instant) -> Result<Turn, Option<Instant>> {
        if let Some(until) = self.paused {
            if now < until {
                return Err(Some(until));
            }
            self.paused = None;
        }
        while let Some(name) = self.named.pop_front() {
            if self.state(&name) == Some(ReadState::Named) {
                return Ok(self.turn(name, now));
            }
        }
        let name = self.due(now)?;
        self.budget.take(now, self.services.len()).map_err(Some)?;
        Ok(self.turn(name, now))
    }

    /// Finds the next service of those that no answer named.
    fn due(&mut self, now: Instant) -> Result<Arc<str>, Option<Instant>> {
        let doubted_at = self.doubted;
        let doubted = |since: Instant| doubted_at.is_some_and(|at| since <= at);
        while let Some(name) = self.likely.front() {
            match self.state(name) {
                Some(ReadState::Rested(since)) if doubted(since) => return Ok(Arc::clone(name)),
                _ => self.likely.pop_front(),
            };
        }
        let retry = self.retries.first();
        let rested = self.rested.first();
        if let Some((_, name)) = retry.filter(|(at, _)| *at <= now) {
            return Ok(Arc::clone(name));
        }
        let round = rested.map(|(since, _)| *since + ROUND_INTERVAL);
        if let Some((since, name)) = rested
            && (doubted(*since) || round.is_some_and(|round| round <= now))
        {
            return Ok(Arc::clone(name));
        }
        Err(retry.map(|(at, _)| *at).into_iter().chain(round).min())
    }

    fn state(&self, name: &str) -> Option<ReadState> {
        self.services.get(name).map(|service| service.state)
    }

    fn turn(&mut self, name: Arc<str>, now: Instant) -> Turn {
        let doubted = self.doubted;
        let mut turn = Turn {
            name,
            named_at: None,
            mark: None,
        };
        if let Some(service) = self.services.get_mut(&turn.name) {
            match service.state {
                ReadState::Rested(since) => {
                    self.rested.remove(&(since, Arc::clone(&turn.name)));
                }
                ReadState::Failed(at) => {
                    self.retries.remove(&(at, Arc::clone(&turn.name)));
                }
                ReadState::Named | ReadState::Reading(_) => {}
            }
            service.state = ReadState::Reading(now);
            turn.named_at = service.named_at.take().or(doubted);
            turn.mark = service.mark;
        }
        turn
    }

    /// A read has ended.
    pub(super) fn finish(&mut self, name: &Arc<str>, outcome: Outcome, now: Instant) {
        if outcome == Outcome::Failed {
            self.failures_in_row = self.failures_in_row.saturating_add(1);
            if self.failures_in_row >= OUTAGE_FAILURES && self.paused.is_none() {
                self.paused = Some(now + self.backoff.fail());
            }
        } else {
            self.failures_in_row = 0;
            self.backoff.reset();
        }
        let Some(service) = self.services.get_mut(name) else {
            return;
        };
        let ReadState::Reading(since) = service.state else {
            return;
        };
        match outcome {
            Outcome::Gone => {
                self.services.remove(name);
                self.changed.retain(|other| other != name);
                return;
            }
            Outcome::Failed => {
                let at = now + service.backoff.fail();
                service.state = ReadState::Failed(at);
                self.retries.insert((at, Arc::clone(name)));
                return;
            }
            Outcome::Read { index, changed } => {
                service.backoff.reset();
                service.mark = Some(index);
                if changed {
                    self.changed.retain(|other| other != name);
                    self.changed.push_front(Arc::clone(name));
                    self.changed.truncate(LIKELY_LIMIT);
                }
            }
        }
        // Named while it was being read: what came may be older.
        if service.named_at.is_some() {
            service.state = ReadState::Named;
            self.named.push_back(Arc::clone(name));
        } else {
            service.state = ReadState::Rested(since);
            self.rested.insert((since, Arc::clone(name)));
        }
    }
}

/// Reads that nobody named: a burst of one for each service, then so many a second.
#[derive(Debug)]
struct Budget {
    tokens: f64,
    filled: Instant,
}

impl Budget {
    const PER_SECOND: f64 = 500.0;
    const LEAST_BURST: f64 = 500.0;

    fn full(now: Instant) -> Self {
        Self {
            tokens: f64::INFINITY,
            filled: now,
        }
    }

    /// Or when there will be one.
    fn take(&mut self, now: Instant, services: usize) -> Result<(), Instant> {
        let burst = f64::from(u32::try_from(services).unwrap_or(u32::MAX)).max(Self::LEAST_BURST);
        let gained = now.saturating_duration_since(self.filled).as_secs_f64() * Self::PER_SECOND;
        self.tokens = (self.tokens + gained).min(burst);
        self.filled = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(now + Duration::from_secs_f64((1.0 - self.tokens) / Self::PER_SECOND))
    }
}

#[cfg(test)]
mod tests;
