//! A listener's connections, bounded: nobody who only connects can use up the process's files or another's turn.
//!
//! A connection that has said nothing of use yet is *idle*. Where there are too many, the oldest idle one makes room for a
//! newcomer, so that a thousand half-open ones keep nobody out who says what it wants; where none is idle, the newcomer is
//! refused.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tracing::warn;

use crate::error::chain;

/// After a failed accept: it fails again at once while what it wants is missing.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often the log repeats the same trouble of a listener.
const COMPLAIN_EVERY: Duration = Duration::from_mins(1);

/// All connections of one listener.
#[derive(Debug, Clone)]
pub struct Connections {
    open: Arc<Mutex<Open>>,
    limit: usize,
    idle_limit: usize,
}

#[derive(Debug, Default)]
struct Open {
    count: u64,
    /// Connections in order of arrival.
    places: BTreeMap<u64, CancellationToken>,
    idle: BTreeSet<u64>,
}

/// One connection's place; free again when it is dropped.
#[derive(Debug)]
pub struct Place {
    number: u64,
    evicted: CancellationToken,
    all: Connections,
}

impl Connections {
    /// Lets at most `limit` in at a time, and `idle_limit` of them idle.
    pub fn new(limit: usize, idle_limit: usize) -> Self {
        Self {
            open: Arc::default(),
            limit,
            idle_limit,
        }
    }

    /// A place for a newcomer, who is idle; `None` where all are in use.
    pub fn admit(&self) -> Option<Place> {
        let mut open = self.lock();
        if open.places.len() >= self.limit || open.idle.len() >= self.idle_limit {
            let oldest = open.idle.pop_first()?;
            if let Some(evicted) = open.places.remove(&oldest) {
                evicted.cancel();
            }
        }
        open.count += 1;
        let (number, evicted) = (open.count, CancellationToken::new());
        open.places.insert(number, evicted.clone());
        open.idle.insert(number);
        Some(Place {
            number,
            evicted,
            all: self.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// It has said what it wants, or is done with that.
    pub fn set_idle(&self, idle: bool) {
        let mut open = self.all.lock();
        if !idle {
            open.idle.remove(&self.number);
        } else if open.places.contains_key(&self.number) {
            open.idle.insert(self.number);
        }
    }

    /// Waits until another connection needs the place.
    pub fn evicted(&self) -> WaitForCancellationFutureOwned {
        self.evicted.clone().cancelled_owned()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.all.lock();
        open.places.remove(&self.number);
        open.idle.remove(&self.number);
    }
}

/// Warnings about a listener that can't accept: the first time, and once a minute.
#[derive(Debug)]
pub struct Complaints {
    listener: &'static str,
    last: Option<Instant>,
}

impl Complaints {
    /// Warnings about the listener of that config key.
    pub fn new(listener: &'static str) -> Self {
        Self {
            listener,
            last: None,
        }
    }

    /// An accept failed.
    pub fn fail(&mut self, error: &io::Error) {
        if self
            .last
            .is_none_or(|last| last.elapsed() >= COMPLAIN_EVERY)
        {
            self.last = Some(Instant::now());
            let error = chain(error);
            warn!(
                listener = self.listener,
                error, "a connection can't be accepted"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn at_the_limit_the_oldest_that_says_nothing_goes_and_nobody_who_is_served() {
        let connections = Connections::new(3, 3);
        let [first, second, third] = [(); 3].map(|()| connections.admit().unwrap());
        first.set_idle(false);
        let fourth = connections.admit().unwrap();
        second.evicted().await;
        for stays in [&first, &third, &fourth] {
            assert!(!stays.evicted.is_cancelled());
            stays.set_idle(false);
        }
        assert!(connections.admit().is_none(), "all are served");
        drop(third);
        let fifth = connections.admit().unwrap();
        second.set_idle(true);
        drop(second);
        assert_eq!(connections.lock().places.len(), 3);
        assert!(!fifth.evicted.is_cancelled());
    }

    #[test]
    fn few_are_idle_even_where_there_is_room_for_many() {
        let connections = Connections::new(100, 2);
        let places: Vec<Place> = (0..10).map(|_| connections.admit().unwrap()).collect();
        let stay = places.iter().filter(|place| !place.evicted.is_cancelled());
        assert_eq!(stay.count(), 2);
    }
}
