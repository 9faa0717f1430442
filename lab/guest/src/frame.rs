//! Frames on the way between the host and the guest: what may be said, and its bytes.
//!
//! One frame = length (u32, of what follows), channel (u32), kind (u8), payload. Numbers are little-endian: both
//! ends are the same machine. A channel is one process. Pure but for reading and writing whole frames.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// Larger frames are an error, not an allocation.
const MAX: usize = 1 << 20;

/// What one side tells the other about one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Host → guest: start a process (first frame of a channel).
    Run(Run),
    /// Host → guest: bytes for its standard input; empty means end of input.
    Stdin(Vec<u8>),
    /// Host → guest: a signal's number.
    Signal(i32),
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    /// Either way: so many bytes of a stream were consumed and may be sent again.
    Credit(u32),
    /// Guest → host: it ended (or, detached, started): the channel's last frame.
    End(End),
    /// Guest → host, channel 0: the guest is ready.
    Ready,
}

/// A command to run in the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
    /// When set the process outlives the channel and its output is appended to this file.
    pub detached_log: Option<String>,
}

/// How a channel ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    Exited(i32),
    Killed(i32),
    /// A detached process runs under this pid of the guest.
    Detached(i32),
    /// It could not be started, and why.
    NotStarted(String),
}

/// A frame: whom it is about, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub channel: u32,
    pub body: Body,
}

impl Frame {
    pub fn new(channel: u32, body: Body) -> Self {
        Self { channel, body }
    }

    /// The frame's bytes, length included.
    pub fn encode(&self) -> io::Result<Vec<u8>> {
        let (kind, payload) = match &self.body {
            Body::Run(run) => (1, serde_json::to_vec(run)?),
            Body::Stdin(bytes) => (2, bytes.clone()),
            Body::Signal(number) => (3, number.to_le_bytes().to_vec()),
            Body::Stdout(bytes) => (4, bytes.clone()),
            Body::Stderr(bytes) => (5, bytes.clone()),
            Body::Credit(count) => (6, count.to_le_bytes().to_vec()),
            Body::End(end) => (7, serde_json::to_vec(end)?),
            Body::Ready => (8, Vec::new()),
        };
        let length = u32::try_from(payload.len() + 5).map_err(|_| invalid("frame too long"))?;
        let mut bytes = Vec::with_capacity(payload.len() + 9);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&self.channel.to_le_bytes());
        bytes.push(kind);
        bytes.extend_from_slice(&payload);
        Ok(bytes)
    }

    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(&self.encode()?)?;
        to.flush()
    }

    /// The next frame, or `None` at a clean end of the stream.
    pub fn read(from: &mut impl Read) -> io::Result<Option<Self>> {
        let mut length = [0; 4];
        match from.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let length =
            usize::try_from(u32::from_le_bytes(length)).map_err(|_| invalid("frame length"))?;
        if !(5..=MAX).contains(&length) {
            return Err(invalid("frame length out of bounds"));
        }
        let mut rest = vec![0; length];
        from.read_exact(&mut rest)?;
        let payload = rest.split_off(5);
        let channel = u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]);
        let number = || {
            <[u8; 4]>::try_from(payload.as_slice())
                .map_err(|_| invalid("frame of four bytes expected"))
        };
        let body = match rest[4] {
            1 => Body::Run(serde_json::from_slice(&payload)?),
            2 => Body::Stdin(payload),
            3 => Body::Signal(i32::from_le_bytes(number()?)),
            4 => Body::Stdout(payload),
            5 => Body::Stderr(payload),
            6 => Body::Credit(u32::from_le_bytes(number()?)),
            7 => Body::End(serde_json::from_slice(&payload)?),
            8 => Body::Ready,
            _ => return Err(invalid("unknown frame kind")),
        };
        Ok(Some(Self { channel, body }))
    }
}

/// Where several threads write: frames go out whole, one after the other.
#[derive(Debug)]
pub struct Sink<W>(Arc<Mutex<W>>);

impl<W> Clone for Sink<W> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<W: Write> Sink<W> {
    pub fn new(to: W) -> Self {
        Self(Arc::new(Mutex::new(to)))
    }

    pub fn send(&self, channel: u32, body: Body) -> io::Result<()> {
        let mut to = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Frame::new(channel, body).write(&mut *to)
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let run = Run {
            argv: vec!["true".to_owned()],
            env: vec![("A".to_owned(), "b".to_owned())],
            detached_log: None,
        };
        let bodies = [
            Body::Run(run),
            Body::Stdin(vec![0, 255, 10]),
            Body::Stdin(Vec::new()),
            Body::Signal(15),
            Body::Stdout(b"out".to_vec()),
            Body::Stderr(b"err".to_vec()),
            Body::Credit(65_536),
            Body::End(End::Killed(9)),
            Body::Ready,
        ];
        let mut bytes = Vec::new();
        for (channel, body) in (0..).zip(bodies.clone()) {
            Frame::new(channel, body).write(&mut bytes).unwrap();
        }
        let mut reader = bytes.as_slice();
        for (channel, body) in (0..).zip(bodies) {
            assert_eq!(
                Frame::read(&mut reader).unwrap(),
                Some(Frame::new(channel, body))
            );
        }
        assert_eq!(Frame::read(&mut reader).unwrap(), None);
    }

    #[test]
    fn rubbish_is_an_error_and_not_an_allocation() {
        assert!(Frame::read(&mut [0xff; 64].as_slice()).is_err());
        assert!(Frame::read(&mut [5, 0, 0, 0, 1, 0, 0, 0, 99].as_slice()).is_err());
        assert!(Frame::read(&mut [9, 0, 0, 0, 1].as_slice()).is_err());
    }
}
