//! The search for the end of the files in one stream's stored log, entry by entry. Pure.

use jiff::Timestamp;

use super::{CLOCK_SLACK, STORE_LAG_FIT, Skip};
use crate::engine::{LogEntry, Source};
use crate::logs::files::End;
use crate::logs::tail::{Match, Tail};

pub(super) struct Search {
    source: Source,
    /// When the last byte arrived.
    write_time: Option<Timestamp>,
    tail: Tail,
    progress: Match,
    best: Option<(i128, Skip)>,
    latest: Option<Mark>,
    /// The first bytes, where less than the whole tail can fit, and the entries that they are of.
    head: Vec<u8>,
    head_marks: Vec<(usize, Mark)>,
}

/// An entry of the log, without its text.
#[derive(Debug, Clone, Copy)]
struct Mark {
    at: Timestamp,
    /// The entry's place among those of the same time, counted from 0.
    index: usize,
    length: usize,
}

impl Search {
    pub(super) fn new(source: Source, end: &End) -> Self {
        Self {
            source,
            write_time: Timestamp::try_from(end.write_time).ok(),
            tail: Tail::new(&end.tail),
            progress: Match::default(),
            best: None,
            latest: None,
            head: Vec::new(),
            head_marks: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, entry: &LogEntry) {
        let index = match self.latest {
            Some(latest) if latest.at == entry.at => latest.index.saturating_add(1),
            _ => 0,
        };
        let mark = Mark {
            at: entry.at,
            index,
            length: entry.bytes.len(),
        };
        self.latest = Some(mark);
        let room = self.tail.len().saturating_sub(self.head.len());
        if room > 0 && mark.length > 0 {
            self.head_marks.push((self.head.len(), mark));
            self.head
                .extend_from_slice(&entry.bytes[..mark.length.min(room)]);
        }
        let mut fit = None;
        for (index, byte) in entry.bytes.iter().enumerate() {
            if self.tail.step(&mut self.progress, *byte) {
                fit = Some(index.saturating_add(1));
            }
        }
        // The last place in an entry counts: a burst of equal bytes ends there.
        if let Some(bytes) = fit {
            let candidate = self.candidate(mark, bytes, self.tail.len());
            self.best = nearer(self.best.take(), candidate);
        }
    }

    /// The place whose time is nearest to the last write; of two equally near ones the later.
    pub(super) fn finish(self) -> Option<Skip> {
        let mut best = None;
        let mut marks = self.head_marks.iter().peekable();
        for place in self.tail.short_fits(&self.head) {
            while let Some((start, mark)) = marks.peek() {
                let bytes = place.saturating_sub(*start);
                if bytes <= mark.length {
                    best = nearer(best, self.candidate(*mark, bytes, place));
                    break;
                }
                marks.next();
            }
        }
        nearer(best, self.best).map(|(_, skip)| skip)
    }

    /// `bytes` of the entry, and all before them, have arrived; `fit` bytes of the tail agree.
    fn candidate(&self, mark: Mark, bytes: usize, fit: usize) -> Option<(i128, Skip)> {
        let away = mark
            .at
            .as_nanosecond()
            .saturating_sub(self.write_time?.as_nanosecond());
        if away > CLOCK_SLACK.as_nanos().cast_signed() && fit < STORE_LAG_FIT {
            return None;
        }
        let complete = bytes == mark.length;
        let skip = Skip {
            before: Some(mark.at),
            entries: mark.index.saturating_add(usize::from(complete)),
            bytes: if complete { 0 } else { bytes },
            ..Skip::empty(self.source)
        };
        Some((away.abs(), skip))
    }
}

fn nearer(earlier: Option<(i128, Skip)>, later: Option<(i128, Skip)>) -> Option<(i128, Skip)> {
    match (earlier, later) {
        (Some(earlier), Some(later)) if earlier.0 < later.0 => Some(earlier),
        (earlier, later) => later.or(earlier),
    }
}

/// See [`crate::fuzz::stored_log`]. The first byte is the tail's length, the second an entry's; of an entry's text no more
/// than there is has arrived.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(data: &[u8]) {
    let [tail, entry, rest @ ..] = data else {
        return;
    };
    let (tail, log) = rest.split_at(usize::from(*tail).min(rest.len()));
    let end = End {
        tail: tail.to_vec(),
        write_time: std::time::SystemTime::UNIX_EPOCH,
    };
    let mut search = Search::new(Source::Stdout, &end);
    let length = usize::from(*entry).max(1);
    for (number, bytes) in log.chunks(length).enumerate() {
        // Two entries have one time.
        let second = i64::try_from(number / 2).unwrap_or(i64::MAX);
        let entry = LogEntry {
            source: Source::Stdout,
            at: Timestamp::from_second(second).unwrap_or(Timestamp::MAX),
            bytes: bytes::Bytes::copy_from_slice(bytes),
        };
        search.push(&entry);
    }
    if let Some(skip) = search.finish() {
        assert!(skip.bytes < length, "an entry that has arrived is whole");
    }
}
