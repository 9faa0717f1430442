//! Whether the engine may have thrown lines away before any of a container's had arrived. Pure but for reading a stream.
//!
//! If lines have arrived, the search for the last of them says what is missing. If none have, only the stored log's size and
//! begin give a hint, and neither is a proof: the words are "may be missing".

use std::time::{Duration, SystemTime};

use futures_util::TryStreamExt;
use jiff::Timestamp;

use crate::engine::{EngineError, History, LogEntry, LogLimits};

/// The size of an entry of Docker's `json-file` without its text: names, stream and time.
const ENVELOPE_SIZE: u64 = 72;
/// The longest form of one byte of text there.
const ESCAPE_SIZE_MAX: u64 = 6;
/// Where the engine keeps a single file, only its first entry shows that the file was emptied: a program that writes at all
/// often begins within this time.
const FIRST_OUTPUT_TIME: Duration = Duration::from_secs(1);

/// A warning for the user if nothing of a container that began at `start` has arrived. `history` is its stored log.
pub(in crate::logs) async fn doubt(
    mut history: History,
    limits: LogLimits,
    start: Option<SystemTime>,
) -> Result<Option<String>, EngineError> {
    let mut begins = None;
    let mut size = 0_u64;
    while let Some(entry) = history.try_next().await? {
        begins.get_or_insert(entry.at);
        size = size.saturating_add(size_at_most(&entry));
    }
    let Some(begins) = begins else {
        return Ok(None);
    };
    let late = start
        .and_then(|start| Timestamp::try_from(start.checked_add(FIRST_OUTPUT_TIME)?).ok())
        .is_some_and(|first| begins > first);
    let may_be_cut = match limits.least_after_loss() {
        0 => late,
        least => size >= least,
    };
    Ok(may_be_cut.then(|| {
        format!(
            "log lines before {begins:.3} may be missing: none had been read yet, and the engine keeps no more than {} x {} bytes",
            limits.files, limits.file_size
        )
    }))
}

/// In the engine's file.
fn size_at_most(entry: &LogEntry) -> u64 {
    let size = |byte: &u8| match byte {
        b' '..=b'~' if !b"\"\\<>&".contains(byte) => 1,
        _ => ESCAPE_SIZE_MAX,
    };
    let text: u64 = entry.bytes.iter().map(size).sum();
    text.saturating_add(ENVELOPE_SIZE)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::{StreamExt, stream};

    use super::*;
    use crate::engine::Source;

    const TWO_FILES: LogLimits = LogLimits {
        file_size: 4_000,
        files: 2,
    };
    const SINGLE_FILE: LogLimits = LogLimits {
        file_size: 4_000,
        files: 1,
    };

    fn at(millis: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_000 + millis)
    }

    /// The warning about a container that started at 0 and has stored so many lines since `from`.
    async fn warning(lines: usize, from: u64, limits: LogLimits) -> Option<String> {
        let entry = LogEntry {
            source: Source::Stderr,
            at: Timestamp::try_from(at(from)).unwrap(),
            bytes: Bytes::from_static(b"line\n"),
        };
        let history = stream::iter(std::iter::repeat_n(entry, lines).map(Ok));
        doubt(history.boxed(), limits, Some(at(0))).await.unwrap()
    }

    #[tokio::test]
    async fn less_than_a_full_file_was_never_cut() {
        assert_eq!(warning(0, 0, TWO_FILES).await, None);
        assert_eq!(warning(45, 5_000, TWO_FILES).await, None);
    }

    #[tokio::test]
    async fn more_than_all_old_files_hold_may_have_been_cut() {
        let words = warning(60, 20, TWO_FILES).await.unwrap();
        assert!(
            words.contains("lines before 1970-01-01T00:16:40.020Z may be missing"),
            "{words}"
        );
        assert!(words.contains("2 x 4000 bytes"), "{words}");
    }

    #[tokio::test]
    async fn a_single_file_may_have_been_emptied_if_it_begins_late() {
        assert_eq!(warning(60, 20, SINGLE_FILE).await, None);
        assert!(warning(1, 1_001, SINGLE_FILE).await.is_some());
    }
}
