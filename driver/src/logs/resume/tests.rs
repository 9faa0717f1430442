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
}

fn lost(since: i64, until: Option<i64>) -> Skip {
    Skip::all_older(Source::Stdout, at(since).into(), until.map(at))
}

#[test]
fn a_loss_says_from_when_to_when_and_how_long() {
    let words = loss(&[lost(0, Some(4250)), Skip::nothing(Source::Stderr)]).unwrap();
    for part in [
        "4.250 s of log lines are gone",
        "00:16:40.000",
        "00:16:44.250",
    ] {
        assert!(words.contains(part), "{words}");
    }
    assert!(loss(&[lost(0, None)]).unwrap().contains("all that"));
    assert!(loss(&[lost(9, Some(5))]).unwrap().contains("twice"));
}

#[test]
fn both_streams_loss_is_told_once_from_the_later_arrival_on() {
    let words = loss(&[lost(0, Some(4250)), lost(1000, Some(4250))]).unwrap();
    assert!(words.starts_with("3.250 s"), "{words}");
}

#[test]
fn a_stream_whose_last_line_is_long_rotated_away_lost_nothing_when_the_other_goes_on() {
    let log = [entry(5000, "later\n")];
    let goes_on = boundary(Source::Stdout, &log, &end(5000, "later\n")).unwrap();
    let quiet = Skip::all_older(Source::Stderr, at(0).into(), Some(at(4000)));
    assert_eq!(loss(&[goes_on, quiet]), None);
}

#[tokio::test]
async fn the_stored_logs_begin_is_told_though_it_is_of_the_other_stream_or_too_late() {
    let mut other = entry(4000, "other\n");
    other.source = Source::Stderr;
    for log in [
        vec![other, entry(5000, "later\n")],
        vec![entry(4000, "x\n")],
    ] {
        let history = stream::iter(log.into_iter().map(Ok)).boxed();
        let stored = until(history, Source::Stdout, at(0).into()).await.unwrap();
        assert_eq!((stored.entries.len(), stored.begins), (0, Some(at(4000))));
    }
}
