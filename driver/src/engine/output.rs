//! What a container writes, as a stream of chunks.

use bytes::Bytes;
use futures_util::stream::BoxStream;
use jiff::Timestamp;

use super::EngineError;

/// Chunks in the order the engine saw them, ending when the container does.
pub type Output = BoxStream<'static, Result<Chunk, EngineError>>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    pub source: Source,
    pub bytes: Bytes,
}

/// Stored output, oldest first, with the time the engine saw it.
pub type History = BoxStream<'static, Result<LogEntry, EngineError>>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    pub source: Source,
    pub at: Timestamp,
    pub bytes: Bytes,
}

/// With a terminal everything is [`Source::Stdout`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Stdout,
    Stderr,
}
