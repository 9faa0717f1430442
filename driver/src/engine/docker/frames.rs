//! The two forms in which the engine sends output, and their decoder.
//!
//! ```text
//!  with a terminal      bytes as they are
//!  without              [stream, 0, 0, 0, length: 4 bytes, big endian] payload   again and again
//! ```
//!
//! Nothing in the bytes tells the two apart: the caller knows the form from the container. A payload is passed on as it
//! arrives, so a frame costs no memory, however long it says it is.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio_util::codec::Decoder;

use crate::engine::{EngineError, Source};

/// A frame's header.
const HEADER_SIZE: usize = 8;
/// So much is kept of an error that the engine reports inside the stream.
const LONGEST_REPORT: usize = 1024;

/// Which of the two forms a stream has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Raw,
    Framed,
}

/// Some bytes of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) source: Source,
    pub(super) bytes: Bytes,
    /// The last of its frame. Never so in a raw stream.
    pub(super) last: bool,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    #[error("the stream of output broke")]
    Io(#[from] io::Error),
    #[error("the stream of output ends inside a frame")]
    Truncated,
    #[error("the stream of output has a frame that begins with {0:02x?}")]
    Header([u8; HEADER_SIZE]),
    #[error("the engine reports: {0}")]
    Report(String),
}

#[derive(Debug)]
pub(super) struct Frames {
    state: State,
}

#[derive(Debug)]
enum State {
    Raw,
    Header,
    Payload { source: Source, rest: usize },
    Report { text: Vec<u8>, rest: usize },
}

impl Form {
    pub(super) fn of(terminal: bool) -> Self {
        if terminal { Self::Raw } else { Self::Framed }
    }
}

impl Frames {
    pub(super) fn new(form: Form) -> Self {
        let state = match form {
            Form::Raw => State::Raw,
            Form::Framed => State::Header,
        };
        Self { state }
    }
}

impl From<FrameError> for EngineError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Io(_) | FrameError::Truncated => {
                Self::Unreachable(nomad_driver_sdk::error::chain(&error))
            }
            FrameError::Header(_) | FrameError::Report(_) => Self::Refusal(error.to_string()),
        }
    }
}

impl Decoder for Frames {
    type Item = Piece;
    type Error = FrameError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Piece>, FrameError> {
        loop {
            match &mut self.state {
                State::Raw => {
                    return Ok((!src.is_empty()).then(|| Piece {
                        source: Source::Stdout,
                        bytes: src.split().freeze(),
                        last: false,
                    }));
                }
                State::Header => {
                    let Some(header) = src.first_chunk::<HEADER_SIZE>().copied() else {
                        return Ok(None);
                    };
                    self.state = State::after(header)?;
                    src.advance(HEADER_SIZE);
                }
                State::Payload { rest: 0, .. } => self.state = State::Header,
                State::Payload { source, rest } => {
                    let length = src.len().min(*rest);
                    if length == 0 {
                        return Ok(None);
                    }
                    *rest = rest.saturating_sub(length);
                    return Ok(Some(Piece {
                        source: *source,
                        bytes: src.split_to(length).freeze(),
                        last: *rest == 0,
                    }));
                }
                State::Report { text, rest } => {
                    let part = src.split_to(src.len().min(*rest));
                    *rest = rest.saturating_sub(part.len());
                    let room = LONGEST_REPORT.saturating_sub(text.len());
                    text.extend(part.iter().take(room));
                    if *rest > 0 {
                        return Ok(None);
                    }
                    let report = String::from_utf8_lossy(text).trim().to_owned();
                    return Err(FrameError::Report(report));
                }
            }
        }
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<Piece>, FrameError> {
        if let Some(piece) = self.decode(src)? {
            return Ok(Some(piece));
        }
        match self.state {
            State::Raw | State::Payload { rest: 0, .. } => Ok(None),
            State::Header if src.is_empty() => Ok(None),
            State::Header | State::Payload { .. } | State::Report { .. } => {
                Err(FrameError::Truncated)
            }
        }
    }
}

impl State {
    fn after(header: [u8; HEADER_SIZE]) -> Result<Self, FrameError> {
        let [stream, 0, 0, 0, length @ ..] = header else {
            return Err(FrameError::Header(header));
        };
        let rest = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        match stream {
            // Docker's own reader takes the number of standard input for output, too.
            0 | 1 => Ok(Self::Payload {
                source: Source::Stdout,
                rest,
            }),
            2 => Ok(Self::Payload {
                source: Source::Stderr,
                rest,
            }),
            3 => Ok(Self::Report {
                text: Vec::new(),
                rest,
            }),
            _ => Err(FrameError::Header(header)),
        }
    }
}

/// See [`crate::fuzz::frames`]. No more bytes come out than went in, and of a raw stream all.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(data: &[u8]) {
    let [form, step, stream @ ..] = data else {
        return;
    };
    let form = Form::of(form % 2 == 0);
    let mut frames = Frames::new(form);
    let (mut buffer, mut count) = (BytesMut::new(), 0);
    let mut outcome = Ok(());
    for chunk in stream.chunks(usize::from(*step).max(1)) {
        buffer.extend_from_slice(chunk);
        outcome = drain(&mut frames, &mut buffer, &mut count);
        if outcome.is_err() {
            break;
        }
        assert!(
            buffer.len() < HEADER_SIZE,
            "what can be passed on is not kept"
        );
    }
    while outcome.is_ok()
        && let Ok(Some(piece)) = frames.decode_eof(&mut buffer)
    {
        count += piece.bytes.len();
    }
    assert!(count <= stream.len());
    assert!(form == Form::Framed || count == stream.len());
}

#[cfg(any(test, fuzzing))]
fn drain(frames: &mut Frames, buffer: &mut BytesMut, count: &mut usize) -> Result<(), FrameError> {
    while let Some(piece) = frames.decode(buffer)? {
        *count += piece.bytes.len();
    }
    Ok(())
}

#[cfg(test)]
mod tests;
