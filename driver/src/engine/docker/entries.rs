//! Stored output: entries, each with the time the engine saw it in front.
//!
//! ```text
//!  framed   one frame is one entry:   2026-11-24T21:00:00.123456789Z text
//!  raw      one line is one entry, and so is each 16 KiB of a longer one, for the engine stores them so
//! ```
//!
//! An entry that never ends is passed on in parts, all of the same time: nothing here grows with what a container writes.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use jiff::Timestamp;

use super::frames::{Form, FrameError, Piece};
use crate::engine::{EngineError, LogEntry, Source};

/// RFC 3339 with nanoseconds and an offset, and the space after it.
const LONGEST_STAMP: usize = 40;
/// The engine stores a longer line in parts of this size.
const STORED_PART: usize = 16 * 1024;
/// An entry beyond this is passed on in parts.
const LONGEST_ENTRY: usize = STORED_PART + LONGEST_STAMP;

#[derive(Debug)]
pub(super) struct Entries {
    form: Form,
    pending: BytesMut,
    source: Source,
    at: Option<Timestamp>,
    /// The next byte is an entry's first.
    fresh: bool,
}

/// The entries that the pieces of a stored log make.
pub(super) fn entries(
    form: Form,
    pieces: impl Stream<Item = Result<Piece, FrameError>> + Send + 'static,
) -> impl Stream<Item = Result<LogEntry, EngineError>> + Send {
    let end = stream::once(std::future::ready(None));
    let items = pieces.map(Some).chain(end);
    let mut entries = Entries::new(form);
    let output = items.map(move |item| {
        let output = match item {
            Some(Ok(piece)) => entries.push(&piece),
            None => entries.end(),
            Some(Err(error)) => return Err(EngineError::from(error)),
        };
        Ok(stream::iter(output.into_iter().map(Ok)))
    });
    output.try_flatten()
}

impl Entries {
    pub(super) fn new(form: Form) -> Self {
        Self {
            form,
            pending: BytesMut::new(),
            source: Source::Stdout,
            at: None,
            fresh: true,
        }
    }

    pub(super) fn push(&mut self, piece: &Piece) -> VecDeque<LogEntry> {
        let mut output = VecDeque::new();
        self.source = piece.source;
        self.pending.extend_from_slice(&piece.bytes);
        match self.form {
            Form::Raw => while self.line(&mut output) {},
            Form::Framed => {
                if piece.last || self.pending.len() > LONGEST_ENTRY {
                    let length = self.pending.len();
                    self.emit(length, piece.last, &mut output);
                }
            }
        }
        output
    }

    /// What is left when the stream has ended.
    pub(super) fn end(&mut self) -> VecDeque<LogEntry> {
        let mut output = VecDeque::new();
        let length = self.pending.len();
        if length > 0 {
            self.emit(length, true, &mut output);
        }
        output
    }

    /// Takes one line, or one part of a longer one, if all of it is there.
    fn line(&mut self, output: &mut VecDeque<LogEntry>) -> bool {
        let stamp = stamp(&self.pending).map_or(0, |(_, length)| length);
        let part = stamp.saturating_add(STORED_PART);
        // At a part's end a stamp may follow or the rest of the line: the byte after it has to be there.
        let within = &self.pending[..self.pending.len().min(part.saturating_add(1))];
        let length = match within.iter().position(|byte| *byte == b'\n') {
            Some(end) => end.saturating_add(1),
            None if self.pending.len() > part => part,
            None => return false,
        };
        self.emit(length, true, output);
        true
    }

    fn emit(&mut self, length: usize, last: bool, output: &mut VecDeque<LogEntry>) {
        let mut bytes: Bytes = self.pending.split_to(length).freeze();
        if self.fresh
            && let Some((at, length)) = stamp(&bytes)
        {
            self.at = Some(at);
            drop(bytes.split_to(length));
        }
        self.fresh = last;
        // The engine has put a time before the first entry, or what it sends is no stored log.
        if let Some(at) = self.at
            && !bytes.is_empty()
        {
            output.push_back(LogEntry {
                source: self.source,
                at,
                bytes,
            });
        }
    }
}

/// The time in front of an entry, and how many bytes it takes with its space.
fn stamp(bytes: &[u8]) -> Option<(Timestamp, usize)> {
    let space = bytes
        .iter()
        .take(LONGEST_STAMP)
        .position(|byte| *byte == b' ')?;
    let at = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
    Some((at, space.saturating_add(1)))
}

#[cfg(test)]
mod tests;
