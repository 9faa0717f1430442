use bytes::Bytes;
use futures_util::{FutureExt, stream};
use proptest::prelude::*;

use super::*;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(1_000_000 + millis).unwrap()
}

fn entry(millis: i64, text: &str) -> LogEntry {
    LogEntry {
        source: Source::Stdout,
        at: at(millis),
        bytes: Bytes::copy_from_slice(text.as_bytes()),
    }
}

fn end(millis: i64, tail: &str) -> End {
    End {
        tail: tail.as_bytes().to_vec(),
        write_time: at(millis).into(),
    }
}

async fn find_boundary(entries: &[LogEntry], end: &End) -> Boundary {
    let history = stream::iter(entries.iter().cloned().map(Ok).collect::<Vec<_>>()).boxed();
    boundary(history, Source::Stdout, end).await.unwrap()
}

/// What is delivered after the boundary was found in `entries`.
async fn remainder(entries: &[LogEntry], end: &End) -> Option<String> {
    let skip = find_boundary(entries, end).await.skip?;
    let history = stream::iter(entries.iter().cloned().map(Ok).collect::<Vec<_>>()).boxed();
    let chunks: Vec<_> = without(history, vec![skip]).try_collect().await.unwrap();
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
        remainder(&log, &end(2, "one\ntwo\n")).await.as_deref(),
        Some("three\nfour\n")
    );
    assert_eq!(
        remainder(&log, &end(3, "three\nfour\n")).await.as_deref(),
        Some("")
    );
}

#[tokio::test]
async fn a_line_cut_in_the_middle_is_completed() {
    let log = [entry(0, "one\n"), entry(1, "two\n")];
    assert_eq!(
        remainder(&log, &end(1, "one\ntw")).await.as_deref(),
        Some("o\n")
    );
}

#[tokio::test]
async fn of_equal_lines_the_one_nearest_in_time_is_the_last_arrived() {
    let log: Vec<_> = (0..100).map(|n| entry(n * 1000, "tick\n")).collect();
    let output = "tick\n".repeat(41);
    assert_eq!(
        remainder(&log, &end(40_003, &output)).await.unwrap().len(),
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
        remainder(&log, &end(6, "a\nb\n")).await.as_deref(),
        Some("c\nd\n")
    );
}

#[tokio::test]
async fn output_of_an_earlier_container_in_the_same_file_does_not_disturb() {
    let log = [entry(0, "hello\n"), entry(1, "world\n")];
    assert_eq!(
        remainder(&log, &end(0, "old\nbye\nhello\n"))
            .await
            .as_deref(),
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
    let chunks: Vec<_> = without(history, vec![]).try_collect().await.unwrap();
    assert_eq!(chunks.len(), 3);
}

#[tokio::test]
async fn an_end_that_the_engine_stored_late_is_found_by_much_that_agrees_and_not_by_little() {
    let lines = (1000..1100)
        .map(|number| number.to_string())
        .collect::<Vec<_>>()
        .join("\n")
        + "\n";
    let log = [entry(20_000, &lines), entry(20_001, "1100\n")];
    let late = remainder(&log, &end(10_000, &lines)).await;
    assert_eq!(late.as_deref(), Some("1100\n"));
    assert_eq!(remainder(&log, &end(10_000, "1099\n")).await, None);
}

#[tokio::test]
async fn an_end_that_was_rotated_away_fits_nowhere() {
    let log = [entry(5000, "later\n"), entry(5001, "latest\n")];
    assert_eq!(find_boundary(&log, &end(6000, "early\n")).await.skip, None);
}

fn older(since: i64, until: Option<i64>) -> Skip {
    Skip::older_than(Source::Stdout, at(since).into(), until.map(at))
}

#[test]
fn a_loss_says_from_when_to_when_and_how_long() {
    let words = loss(&[older(0, Some(4250)), Skip::empty(Source::Stderr)]).unwrap();
    for part in [
        "4.250 s of log lines are gone",
        "00:16:40.000",
        "00:16:44.250",
    ] {
        assert!(words.contains(part), "{words}");
    }
    assert!(loss(&[older(0, None)]).unwrap().contains("all that"));
    assert!(loss(&[older(9, Some(5))]).unwrap().contains("twice"));
}

#[test]
fn both_streams_loss_is_told_once_from_the_later_arrival_on() {
    let words = loss(&[older(0, Some(4250)), older(1000, Some(4250))]).unwrap();
    assert!(words.starts_with("3.250 s"), "{words}");
}

#[tokio::test]
async fn a_stream_whose_last_line_is_long_rotated_away_lost_nothing_when_the_other_goes_on() {
    let log = [entry(5000, "later\n")];
    let goes_on = find_boundary(&log, &end(5000, "later\n"))
        .await
        .skip
        .unwrap();
    let quiet = Skip::older_than(Source::Stderr, at(0).into(), Some(at(4000)));
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
        let result = find_boundary(&log, &end(0, "x\n")).await;
        assert_eq!((result.skip, result.begins), (None, Some(at(4000))));
    }
}

#[tokio::test]
async fn a_time_that_no_clock_shows_ends_nobody() {
    let end = End {
        tail: b"one\n".to_vec(),
        write_time: SystemTime::UNIX_EPOCH + Duration::from_secs(i64::MAX as u64),
    };
    assert_eq!(find_boundary(&[entry(0, "one\n")], &end).await.skip, None);
}

#[tokio::test]
async fn forty_megabytes_of_one_byte_are_gone_through_once_and_others_have_their_turn_meanwhile() {
    let chunk = Bytes::from(vec![b'x'; 16 * 1024]);
    let log = (0..2560).map(move |n| {
        Ok(LogEntry {
            source: Source::Stdout,
            at: at(n),
            bytes: chunk.clone(),
        })
    });
    let end = end(2000, &"x".repeat(4096));
    let mut turns = 0;
    let others = async {
        loop {
            yield_now().await;
            turns += 1;
        }
    };
    let search = boundary(stream::iter(log).boxed(), Source::Stdout, &end);
    let skip = tokio::select! {
        result = search => result.unwrap().skip.unwrap(),
        () = others => unreachable!(),
    };
    assert_eq!((skip.before, skip.entries), (Some(at(2000)), 1));
    assert!(turns > 100, "{turns}");
}

/// What is wanted, said plainly: the fit nearest in time, of equally near ones the last.
fn naive(log: &[LogEntry], end: &End) -> Option<(Timestamp, usize, usize)> {
    let write_time = Timestamp::try_from(end.write_time).unwrap();
    let mut before = Vec::new();
    let mut best = None;
    for (index, entry) in log.iter().enumerate() {
        for bytes in 1..=entry.bytes.len() {
            before.push(entry.bytes[bytes - 1]);
            let length = before.len().min(end.tail.len());
            if before[before.len() - length..] != end.tail[end.tail.len() - length..] {
                continue;
            }
            let away = (entry.at.as_nanosecond() - write_time.as_nanosecond()).abs();
            if best.is_none_or(|(least, _)| away <= least) {
                let neighbours = log[..index].iter().rev();
                let neighbours = neighbours.take_while(|other| other.at == entry.at).count();
                let whole = bytes == entry.bytes.len();
                let skip = (
                    neighbours + usize::from(whole),
                    if whole { 0 } else { bytes },
                );
                best = Some((away, (entry.at, skip.0, skip.1)));
            }
        }
    }
    best.map(|(_, skip)| skip)
}

proptest! {
    #[test]
    fn the_boundary_is_the_one_that_a_plain_comparison_finds(
        log in proptest::collection::vec((0..4_i64, "[ab\n]{0,5}"), 0..20),
        tail in "[ab\n]{1,12}",
        write_time in 0..40_i64,
    ) {
        let mut time = 0;
        let log: Vec<_> = log
            .into_iter()
            .map(|(later, text)| {
                time += later;
                entry(time, &text)
            })
            .collect();
        let end = end(write_time, &tail);
        let skip = find_boundary(&log, &end).now_or_never().unwrap().skip;
        let skip = skip.map(|skip| (skip.before.unwrap(), skip.entries, skip.bytes));
        prop_assert_eq!(skip, naive(&log, &end));
    }

    #[test]
    fn what_the_files_lack_is_delivered_once_wherever_they_were_cut(
        lines in proptest::collection::vec("[a-z]{0,6}", 1..30),
        cut in 0..200_usize,
    ) {
        // Numbered, so that no two places are alike.
        let lines = lines.iter().enumerate();
        let log: Vec<_> = (0_i64..).zip(lines)
            .map(|(time, (number, line))| entry(time, &format!("{number} {line}\n")))
            .collect();
        let whole: String = log.iter().map(|entry| String::from_utf8_lossy(&entry.bytes)).collect();
        let cut = cut.clamp(1, whole.len());
        let mut begin = 0;
        let at = log.iter().position(|entry| {
            begin += entry.bytes.len();
            begin >= cut
        });
        let write_time = i64::try_from(at.unwrap()).unwrap();
        let output = remainder(&log, &end(write_time, &whole[..cut])).now_or_never().unwrap();
        prop_assert_eq!(output.unwrap(), &whole[cut..]);
    }
}
