//! Finds, in the engine's stored log, the byte after the last one that has arrived. Pure but for reading streams.
//!
//! What has arrived is known exactly: it is in the log files. Their last bytes are looked for in the engine's log; where
//! they fit in several places (a program that writes the same line again and again), the place whose time is nearest
//! to the last write is taken. That time also bounds the search.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt, TryStreamExt};
use jiff::Timestamp;

use super::files::End;
use crate::engine::{Chunk, EngineError, History, Output, Source, Stamped};

/// Engine and files may be apart by this much: clocks, a busy reader.
const SLACK: Duration = Duration::from_secs(2);
/// Docker, following a log across its rotation, repeats the last entries: same nanosecond, same text.
const RECENT: usize = 16;
/// The end is near the last write: of a long log only this many bytes before it are searched.
const WINDOW: usize = 16 * 1024 * 1024;

/// What of one stream's stored log has arrived already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Skip {
    source: Source,
    /// Entries before this time have arrived.
    before: Option<Timestamp>,
    /// And so many of exactly this time.
    entries: usize,
    /// And so many bytes of the one after those.
    bytes: usize,
    /// The end was not found: what lies between the two times is gone.
    gone_since: Option<SystemTime>,
}

impl Skip {
    pub(super) fn nothing(source: Source) -> Self {
        Self {
            source,
            before: None,
            entries: 0,
            bytes: 0,
            gone_since: None,
        }
    }

    pub(super) fn all_older(source: Source, written: SystemTime) -> Self {
        let before = Timestamp::try_from(written).ok();
        Self {
            before,
            gone_since: Some(written),
            ..Self::nothing(source)
        }
    }

    /// Whole seconds since 1970, as the engine takes them.
    pub(super) fn since(&self) -> i32 {
        self.before
            .and_then(|at| i32::try_from(at.as_second()).ok())
            .unwrap_or_default()
    }

    pub(super) fn loss(&self) -> Option<String> {
        let since = Timestamp::try_from(self.gone_since?).ok()?;
        Some(format!(
            "log lines written after {since:.3} may be missing: the engine rotated its log before they could be read"
        ))
    }

    /// What of `entry` has not arrived.
    fn apply(&mut self, mut entry: Stamped) -> Option<Chunk> {
        match self.before {
            Some(before) if entry.at < before => return None,
            Some(before) if entry.at == before && self.entries > 0 => {
                self.entries -= 1;
                return None;
            }
            Some(_) if self.bytes > 0 => {
                let arrived = self.bytes.min(entry.bytes.len());
                drop(entry.bytes.split_to(arrived));
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

pub(super) fn shortly_before(written: SystemTime) -> i32 {
    let at = written
        .checked_sub(SLACK)
        .and_then(|at| Timestamp::try_from(at).ok());
    at.and_then(|at| i32::try_from(at.as_second()).ok())
        .unwrap_or_default()
}

/// The entries of one stream that can have arrived by `written`.
pub(super) async fn until(
    history: History,
    source: Source,
    written: SystemTime,
) -> Result<Vec<Stamped>, EngineError> {
    let last = Timestamp::try_from(written + SLACK).unwrap_or(Timestamp::MAX);
    let of_source = history.try_filter(|entry| std::future::ready(entry.source == source));
    let mut entries = std::pin::pin!(of_source);
    let mut kept = VecDeque::new();
    let mut size = 0;
    while let Some(entry) = entries.try_next().await? {
        if entry.at > last {
            break;
        }
        size += entry.bytes.len();
        kept.push_back(entry);
        while size > WINDOW {
            size -= kept
                .pop_front()
                .map_or(size, |oldest: Stamped| oldest.bytes.len());
        }
    }
    Ok(kept.into())
}

/// The place that `end` fits, if there is one.
pub(super) fn boundary(source: Source, entries: &[Stamped], end: &End) -> Option<Skip> {
    let log: Vec<u8> = entries
        .iter()
        .flat_map(|entry| entry.bytes.iter().copied())
        .collect();
    let written = Timestamp::try_from(end.written).ok()?;
    let mut best: Option<(i128, Skip)> = None;
    let mut start = 0;
    for (index, entry) in entries.iter().enumerate() {
        for bytes in 1..=entry.bytes.len() {
            if !fits(&log[..start + bytes], &end.tail) {
                continue;
            }
            let away = (entry.at.as_nanosecond() - written.as_nanosecond()).abs();
            // Of two equally near ones the later: it is what a burst of equal lines ends with.
            if best.as_ref().is_none_or(|(least, _)| away <= *least) {
                best = Some((away, skip(source, entries, index, bytes)));
            }
        }
        start += entry.bytes.len();
    }
    best.map(|(_, skip)| skip)
}

/// `log` ends with `tail`, as far back as `log` goes.
fn fits(log: &[u8], tail: &[u8]) -> bool {
    let length = log.len().min(tail.len());
    length > 0
        && log.last() == tail.last()
        && log[log.len() - length..] == tail[tail.len() - length..]
}

/// `bytes` of entry `index` and all before it have arrived.
fn skip(source: Source, entries: &[Stamped], index: usize, bytes: usize) -> Skip {
    let at = entries[index].at;
    let whole = bytes == entries[index].bytes.len();
    let same = entries[..index]
        .iter()
        .rev()
        .take_while(|entry| entry.at == at)
        .count();
    Skip {
        source,
        before: Some(at),
        entries: same + usize::from(whole),
        bytes: if whole { 0 } else { bytes },
        gone_since: None,
    }
}

/// `history` without what `skips` say and without what the engine says twice.
pub(super) fn skipping(history: History, mut skips: Vec<Skip>) -> Output {
    let mut recent = VecDeque::with_capacity(RECENT);
    let rest = history.try_filter_map(move |entry| {
        if recent.contains(&entry) {
            return std::future::ready(Ok(None));
        }
        if recent.len() == RECENT {
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
    rest.boxed()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::stream;

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(1_000_000 + millis).unwrap()
    }

    fn entry(millis: i64, text: &str) -> Stamped {
        Stamped {
            source: Source::Stdout,
            at: at(millis),
            bytes: Bytes::copy_from_slice(text.as_bytes()),
        }
    }

    fn end(millis: i64, tail: &str) -> End {
        End {
            tail: tail.as_bytes().to_vec(),
            written: at(millis).into(),
        }
    }

    /// What is delivered after the boundary was found in `entries`.
    async fn rest(entries: &[Stamped], end: &End) -> Option<String> {
        let skip = boundary(Source::Stdout, entries, end)?;
        let history = stream::iter(entries.iter().cloned().map(Ok).collect::<Vec<_>>()).boxed();
        let chunks: Vec<_> = skipping(history, vec![skip]).try_collect().await.unwrap();
        Some(
            chunks
                .iter()
                .map(|chunk| String::from_utf8_lossy(&chunk.bytes))
                .collect(),
        )
    }

    #[tokio::test]
    async fn what_follows_the_last_arrived_line_is_delivered_once() {
        let log = [
            entry(0, "one\n"),
            entry(1, "two\n"),
            entry(2, "three\n"),
            entry(3, "four\n"),
        ];
        assert_eq!(
            rest(&log, &end(2, "one\ntwo\n")).await.as_deref(),
            Some("three\nfour\n")
        );
        assert_eq!(
            rest(&log, &end(3, "three\nfour\n")).await.as_deref(),
            Some("")
        );
    }

    #[tokio::test]
    async fn a_line_cut_in_the_middle_is_completed() {
        let log = [entry(0, "one\n"), entry(1, "two\n")];
        assert_eq!(rest(&log, &end(1, "one\ntw")).await.as_deref(), Some("o\n"));
    }

    #[tokio::test]
    async fn of_equal_lines_the_one_nearest_in_time_is_the_last_arrived() {
        let log: Vec<_> = (0..100).map(|n| entry(n * 1000, "tick\n")).collect();
        let arrived = "tick\n".repeat(41);
        assert_eq!(
            rest(&log, &end(40_003, &arrived)).await.unwrap().len(),
            5 * 59
        );
    }

    #[tokio::test]
    async fn several_lines_of_one_instant_are_counted() {
        let log = [
            entry(5, "a\n"),
            entry(5, "b\n"),
            entry(5, "c\n"),
            entry(5, "d\n"),
        ];
        assert_eq!(
            rest(&log, &end(6, "a\nb\n")).await.as_deref(),
            Some("c\nd\n")
        );
    }

    #[tokio::test]
    async fn output_of_an_earlier_container_in_the_same_file_does_not_disturb() {
        let log = [entry(0, "hello\n"), entry(1, "world\n")];
        assert_eq!(
            rest(&log, &end(0, "old\nbye\nhello\n")).await.as_deref(),
            Some("world\n")
        );
    }

    #[tokio::test]
    async fn an_entry_repeated_at_a_rotation_is_dropped() {
        let entries = [
            entry(0, "one\n"),
            entry(1, "two\n"),
            entry(1, "two\n"),
            entry(2, "two\n"),
        ];
        let history = stream::iter(entries.into_iter().map(Ok)).boxed();
        let chunks: Vec<_> = skipping(history, vec![]).try_collect().await.unwrap();
        assert_eq!(chunks.len(), 3);
    }

    #[test]
    fn an_end_that_was_rotated_away_fits_nowhere() {
        let log = [entry(5000, "later\n"), entry(5001, "latest\n")];
        assert_eq!(boundary(Source::Stdout, &log, &end(0, "early\n")), None);
        assert!(
            Skip::all_older(Source::Stdout, at(0).into())
                .loss()
                .is_some()
        );
    }
}
