//! Finds, in the engine's stored log, the byte after the last one that has arrived. Pure but for reading streams.
//!
//! What has arrived is known exactly: it is in the log files. Their last bytes are looked for in the engine's log; where
//! they fit in several places (a program that writes the same line again and again), the place whose time is nearest
//! to the last write is taken. That time also bounds the search. The stored log is gone through once, as it comes, and
//! nothing of it is kept: neither its size nor what it repeats costs memory.

pub(super) mod rotation;
mod search;

#[cfg(any(test, fuzzing))]
pub(crate) use search::fuzz;

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use tokio::task::yield_now;

use super::files::End;
use crate::engine::{Chunk, EngineError, History, LogEntry, Output, Source};
use search::Search;

/// Engine and files may be apart by this much: clocks, a busy reader.
const CLOCK_SLACK: Duration = Duration::from_secs(2);
/// Docker, following a log across its rotation, repeats the last entries: same nanosecond, same text.
const RECENT_ENTRIES: usize = 16;
/// An engine that stores lines more slowly than it hands them out gives them later times than they arrived at, by this much
/// on a busy machine. A place so late has to fit by more than a few bytes.
const STORE_LAG: Duration = Duration::from_mins(1);
const STORE_LAG_FIT: usize = 256;
/// After so many bytes of a search others have their turn.
const TURN_SIZE: usize = 256 * 1024;

/// The part of one stream's stored log that has arrived already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Skip {
    source: Source,
    /// Entries before this time have arrived.
    before: Option<Timestamp>,
    /// The number of entries of exactly this time that have arrived as well.
    entries: usize,
    /// The number of bytes of the next entry that have arrived as well.
    bytes: usize,
    /// The end was not found.
    gap: Option<Gap>,
}

/// Between these two times nothing is known to have arrived, and nothing is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Gap {
    /// The last write into the files.
    since: Timestamp,
    /// The oldest stored entry, of either stream.
    until: Option<Timestamp>,
}

/// The outcome of a search.
#[derive(Debug)]
pub(super) struct Boundary {
    /// `None`: the end fits nowhere.
    pub(super) skip: Option<Skip>,
    /// Time of the first entry of either stream.
    pub(super) begins: Option<Timestamp>,
}

impl Skip {
    pub(super) fn empty(source: Source) -> Self {
        Self {
            source,
            before: None,
            entries: 0,
            bytes: 0,
            gap: None,
        }
    }

    /// Whether nothing has arrived, as far as the files say.
    pub(super) fn is_empty(&self) -> bool {
        self.before.is_none()
    }

    /// Skips everything that is stored by now.
    pub(super) fn until_now(source: Source) -> Self {
        Self {
            before: Some(Timestamp::now()),
            ..Self::empty(source)
        }
    }

    /// `begins` is when the stored log does.
    pub(super) fn older_than(
        source: Source,
        write_time: SystemTime,
        begins: Option<Timestamp>,
    ) -> Self {
        let before = Timestamp::try_from(write_time).ok();
        Self {
            before,
            gap: before.map(|since| Gap {
                since,
                until: begins,
            }),
            ..Self::empty(source)
        }
    }

    /// Whole seconds since 1970, as the engine takes them.
    pub(super) fn since(&self) -> i32 {
        self.before
            .and_then(|at| i32::try_from(at.as_second()).ok())
            .unwrap_or_default()
    }

    /// The part of `entry` that has not arrived.
    fn apply(&mut self, mut entry: LogEntry) -> Option<Chunk> {
        match self.before {
            Some(before) if entry.at < before => return None,
            Some(before) if entry.at == before && self.entries > 0 => {
                self.entries = self.entries.saturating_sub(1);
                return None;
            }
            Some(_) if self.bytes > 0 => {
                let count = self.bytes.min(entry.bytes.len());
                drop(entry.bytes.split_to(count));
                self.bytes = 0;
            }
            _ => {}
        }
        // Once past the boundary nothing is skipped, even if the engine's clock goes back.
        self.before = None;
        (!entry.bytes.is_empty()).then_some(Chunk {
            source: entry.source,
            bytes: entry.bytes,
        })
    }
}

/// A sentence about the part of a task's log that is gone. Both streams are in one stored log: where the end of one is found, that log
/// reaches back far enough for the other too, whose end was rotated away after it had arrived.
pub(super) fn loss(skips: &[Skip]) -> Option<String> {
    let is_found = |skip: &Skip| skip.before.is_some() && skip.gap.is_none();
    if skips.iter().any(is_found) {
        return None;
    }
    let Gap { since, until } = skips.iter().filter_map(|skip| skip.gap).max()?;
    Some(match until {
        None => format!(
            "log lines are gone: all that were written after {since:.3}, for the engine's log is empty"
        ),
        Some(until) if until > since => format!(
            "{:.3} s of log lines are gone: those between {since:.3} and {until:.3} were rotated away in the engine's log before they could be read",
            until.duration_since(since).as_secs_f64()
        ),
        Some(_) => format!(
            "log lines around {since:.3} may be missing or there twice: the log files do not end with what the engine's log says"
        ),
    })
}

pub(super) fn shortly_before(write_time: SystemTime) -> i32 {
    let at = write_time
        .checked_sub(CLOCK_SLACK)
        .and_then(|at| Timestamp::try_from(at).ok());
    at.and_then(|at| i32::try_from(at.as_second()).ok())
        .unwrap_or_default()
}

/// The place in one stream's stored log that `end` fits, among those that can have arrived by then.
pub(super) async fn boundary(
    mut history: History,
    source: Source,
    end: &End,
) -> Result<Boundary, EngineError> {
    let last = end.write_time.checked_add(STORE_LAG);
    let last = last.and_then(|last| Timestamp::try_from(last).ok());
    let last = last.unwrap_or(Timestamp::MAX);
    let mut search = Search::new(source, end);
    let mut begins = None;
    let mut turn = 0_usize;
    while let Some(entry) = history.try_next().await? {
        begins.get_or_insert(entry.at);
        if entry.at > last {
            break;
        }
        if entry.source == source {
            search.push(&entry);
            turn = turn.saturating_add(entry.bytes.len());
        }
        if turn >= TURN_SIZE {
            turn = 0;
            yield_now().await;
        }
    }
    let skip = search.finish();
    Ok(Boundary { skip, begins })
}

/// `history` without what `skips` say and without what the engine says twice.
pub(super) fn without(history: History, mut skips: Vec<Skip>) -> Output {
    let mut recent = VecDeque::with_capacity(RECENT_ENTRIES);
    let chunks = history.try_filter_map(move |entry| {
        if recent.contains(&entry) {
            return std::future::ready(Ok(None));
        }
        if recent.len() == RECENT_ENTRIES {
            recent.pop_front();
        }
        recent.push_back(entry.clone());
        let chunk = match skips.iter_mut().find(|skip| skip.source == entry.source) {
            Some(skip) => skip.apply(entry),
            None => Some(Chunk {
                source: entry.source,
                bytes: entry.bytes,
            }),
        };
        std::future::ready(Ok(chunk))
    });
    chunks.boxed()
}

#[cfg(test)]
mod tests;
