use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// What a decoder makes of bytes that arrive in `parts`, and how many bytes it kept in between at most.
struct Outcome {
    /// Neighbours of one stream as one.
    output: Vec<(Source, Vec<u8>)>,
    error: Option<String>,
    buffer_max: usize,
}

fn decode(form: Form, parts: &[&[u8]]) -> Outcome {
    let mut frames = Frames::new(form);
    let mut buffer = BytesMut::new();
    let mut outcome = Outcome {
        output: Vec::new(),
        error: None,
        buffer_max: 0,
    };
    for part in parts {
        buffer.extend_from_slice(part);
        if !take(|buffer| frames.decode(buffer), &mut buffer, &mut outcome) {
            return outcome;
        }
        outcome.buffer_max = outcome.buffer_max.max(buffer.len());
    }
    take(
        |buffer| frames.decode_eof(buffer),
        &mut buffer,
        &mut outcome,
    );
    outcome
}

fn take(
    mut step: impl FnMut(&mut BytesMut) -> Result<Option<Piece>, FrameError>,
    buffer: &mut BytesMut,
    outcome: &mut Outcome,
) -> bool {
    loop {
        match step(buffer) {
            Ok(Some(Piece { source, bytes, .. })) => {
                assert!(!bytes.is_empty());
                match outcome.output.last_mut().filter(|last| last.0 == source) {
                    Some((_, last)) => last.extend_from_slice(&bytes),
                    None => outcome.output.push((source, bytes.to_vec())),
                }
            }
            Ok(None) => return true,
            Err(error) => {
                outcome.error = Some(error.to_string());
                return false;
            }
        }
    }
}

fn frame(stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[stream, 0, 0, 0], length.as_slice(), payload].concat()
}

/// `bytes` cut at each of `cuts`.
fn parts<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    at.sort_unstable();
    let mut parts = Vec::new();
    let mut from = 0;
    for to in at.into_iter().chain([bytes.len()]) {
        parts.push(&bytes[from..to]);
        from = to;
    }
    parts
}

proptest! {
    #[test]
    fn however_the_bytes_are_split_the_output_is_the_same(
        bytes in vec(prop_oneof![4 => 0..4_u8, 1 => any::<u8>()], 0..200),
        cuts in vec(any::<prop::sample::Index>(), 0..12),
        form in prop_oneof![Just(Form::Raw), Just(Form::Framed)],
    ) {
        let (whole, split) = (decode(form, &[&bytes]), decode(form, &parts(&bytes, &cuts)));
        prop_assert_eq!(whole.output, split.output);
        prop_assert_eq!(whole.error, split.error);
        prop_assert!(split.buffer_max < HEADER_SIZE);
    }

    #[test]
    fn what_was_put_into_frames_comes_out_of_them(
        payloads in vec((1..3_u8, vec(any::<u8>(), 0..50)), 0..10),
        cuts in vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let bytes: Vec<u8> = payloads.iter().flat_map(|(stream, text)| frame(*stream, text)).collect();
        let outcome = decode(Form::Framed, &parts(&bytes, &cuts));
        for (stream, source) in [(1, Source::Stdout), (2, Source::Stderr)] {
            let expected: Vec<u8> = payloads.iter().filter(|(from, _)| *from == stream)
                .flat_map(|(_, text)| text.clone()).collect();
            let pieces = outcome.output.iter().filter(|(from, _)| *from == source);
            prop_assert_eq!(pieces.flat_map(|(_, text)| text.clone()).collect::<Vec<u8>>(), expected);
        }
        prop_assert_eq!(outcome.error, None);
    }
}

#[test]
fn a_terminals_output_may_begin_with_any_byte() {
    for first in 0..=u8::MAX {
        let bytes = [&[first], b"abcdefgh\nand more".as_slice()].concat();
        let outcome = decode(Form::Raw, &[&bytes]);
        assert_eq!(outcome.output, [(Source::Stdout, bytes)]);
        assert_eq!(outcome.error, None);
    }
}

#[test]
fn a_frame_of_four_gigabytes_costs_no_memory() {
    let mut frames = Frames::new(Form::Framed);
    let mut buffer = BytesMut::from([1, 0, 0, 0, 255, 255, 255, 255].as_slice());
    assert_eq!(frames.decode(&mut buffer).unwrap(), None);
    for _ in 0..1000 {
        buffer.extend_from_slice(&[b'x'; 100]);
        let piece = frames.decode(&mut buffer).unwrap().unwrap();
        assert!(piece.bytes.len() == 100 && !piece.last && buffer.is_empty());
    }
    assert!(buffer.capacity() <= 8 * 1024, "{}", buffer.capacity());
    assert!(matches!(
        frames.decode_eof(&mut buffer),
        Err(FrameError::Truncated)
    ));
}

#[test]
fn an_engine_that_reports_an_error_is_quoted_and_not_at_length() {
    let report = decode(
        Form::Framed,
        &[&frame(1, b"out"), &frame(3, b"disk full\n")],
    );
    assert_eq!(report.output, [(Source::Stdout, b"out".to_vec())]);
    assert_eq!(
        report.error.as_deref(),
        Some("the engine reports: disk full")
    );
    let long = decode(Form::Framed, &[&frame(3, &vec![b'x'; 100_000])]);
    assert!(
        long.error
            .is_some_and(|error| error.len() < 2 * LONGEST_REPORT)
    );
}

#[test]
fn what_is_no_frame_is_refused_and_named() {
    for bytes in [
        &b"plain text without a header"[..],
        &[4, 0, 0, 0, 0, 0, 0, 1, b'x'],
        &[1, 0, 1, 0, 0, 0, 0, 1, b'x'],
    ] {
        let outcome = decode(Form::Framed, &[bytes]);
        assert!(outcome.output.is_empty());
        assert!(
            outcome
                .error
                .is_some_and(|error| error.contains("begins with"))
        );
    }
}
