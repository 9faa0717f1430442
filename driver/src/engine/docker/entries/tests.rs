use super::*;

const STAMP: &str = "2026-11-24T21:00:00.123456789Z ";
const LATER: &str = "2026-11-24T21:00:01.000000000Z ";

fn pieces(form: Form, bytes: &[u8], size: usize) -> Vec<LogEntry> {
    let mut decoder = Entries::new(form);
    let count = bytes.chunks(size).count();
    let mut entries = Vec::new();
    for (index, part) in bytes.chunks(size).enumerate() {
        entries.extend(decoder.push(&Piece {
            source: Source::Stdout,
            bytes: Bytes::copy_from_slice(part),
            last: form == Form::Framed && index + 1 == count,
        }));
    }
    entries.extend(decoder.end());
    entries
}

fn texts(entries: &[LogEntry]) -> Vec<(i64, String)> {
    let text = |entry: &LogEntry| String::from_utf8(entry.bytes.to_vec()).unwrap();
    entries
        .iter()
        .map(|entry| (entry.at.as_second() % 10, text(entry)))
        .collect()
}

#[test]
fn a_terminals_lines_are_entries_however_they_arrive() {
    let log = format!("{STAMP}\u{1}one\r\n{LATER}two\r\n{LATER}no end");
    let expected = [(0, "\u{1}one\r\n"), (1, "two\r\n"), (1, "no end")]
        .map(|(at, text)| (at, text.to_owned()));
    for size in 1..log.len() {
        assert_eq!(texts(&pieces(Form::Raw, log.as_bytes(), size)), expected);
    }
}

#[test]
fn a_long_line_of_a_terminal_is_stored_in_parts_and_comes_without_their_times() {
    let part = "x".repeat(STORED_PART);
    let log = format!("{STAMP}{part}{LATER}{part}{LATER}end\r\n{LATER}next\r\n");
    for size in [1000, 8192, log.len()] {
        let entries = pieces(Form::Raw, log.as_bytes(), size);
        let whole: String = texts(&entries).into_iter().map(|(_, text)| text).collect();
        assert_eq!(whole, format!("{part}{part}end\r\nnext\r\n"));
        assert_eq!(entries[0].at.as_second() % 10, 0);
        assert_eq!(entries[1].at.as_second() % 10, 1);
    }
}

#[test]
fn a_frame_is_one_entry_in_however_many_pieces_it_comes() {
    let log = format!("{STAMP}one\ntwo");
    for size in 1..log.len() {
        let entries = pieces(Form::Framed, log.as_bytes(), size);
        assert_eq!(texts(&entries), [(0, "one\ntwo".to_owned())]);
    }
}

#[test]
fn an_entry_that_never_ends_is_passed_on_in_parts_of_one_time() {
    let text = "y".repeat(1_000_000);
    for form in [Form::Raw, Form::Framed] {
        let log = format!("{STAMP}{text}");
        let entries = pieces(form, log.as_bytes(), 8192);
        assert!(
            entries
                .iter()
                .all(|entry| entry.bytes.len() <= LONGEST_ENTRY + 8192)
        );
        assert!(entries.iter().all(|entry| entry.at == entries[0].at));
        let whole: String = texts(&entries).into_iter().map(|(_, text)| text).collect();
        assert_eq!(whole, text);
    }
}

#[test]
fn what_has_no_time_is_not_taken_for_a_stored_log() {
    assert!(pieces(Form::Raw, b"no time here\n", 5).is_empty());
}
