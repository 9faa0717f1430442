//! One blocking netlink socket of any protocol, bound to the network namespace of the thread that opened it.
//!
//! The kernel answers a request within the send itself, so there is nothing to wait for; the receive time-out only guards
//! against an answer that never comes.

use std::io;

use netlink_sys::{Socket as Raw, SocketAddr};
use nix::sys::socket::{setsockopt, sockopt::ReceiveTimeout};
use nix::sys::time::{TimeVal, TimeValLike};

/// The kernel sizes dump answers by the largest buffer it has seen, up to 32 KiB: large ones keep dumps short.
const BUFFER: usize = 64 * 1024;
const MSG_TRUNC: i32 = 0x20;
const RECEIVE_BUFFER: i32 = 1 << 20;
const ANSWER_SECONDS: i64 = 5;

/// Nothing can be sent to the kernel, or an answer of its is lost: with `ENOBUFS` where it did not fit a buffer.
#[derive(Debug, thiserror::Error)]
#[error("netlink: {operation}")]
pub struct SocketError {
    pub operation: &'static str,
    pub source: io::Error,
}

/// A conversation with one subsystem of the kernel.
#[derive(Debug)]
pub struct Socket {
    raw: Raw,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket in the calling thread's network namespace; `protocol` is one of [`netlink_sys::protocols`].
    pub fn open(protocol: isize) -> Result<Self, SocketError> {
        let failed = |operation| move |source| SocketError { operation, source };
        let mut raw = Raw::new(protocol).map_err(failed("open a socket"))?;
        raw.bind_auto().map_err(failed("bind"))?;
        raw.connect(&SocketAddr::new(0, 0))
            .map_err(failed("connect to the kernel"))?;
        raw.set_rx_buf_sz(RECEIVE_BUFFER)
            .map_err(failed("set the receive buffer"))?;
        // Without it every acknowledgement carries the whole request.
        raw.set_cap_ack(true)
            .map_err(failed("ask for short acknowledgements"))?;
        setsockopt(&raw, ReceiveTimeout, &TimeVal::seconds(ANSWER_SECONDS))
            .map_err(|errno| failed("set the receive time-out")(errno.into()))?;
        Ok(Self {
            raw,
            sequence: 1,
            buffer: Vec::with_capacity(BUFFER),
        })
    }

    /// The first of `count` fresh sequence numbers.
    pub fn sequences(&mut self, count: u32) -> u32 {
        if self.sequence.checked_add(count).is_none() {
            self.sequence = 1;
        }
        let first = self.sequence;
        self.sequence = first.saturating_add(count);
        first
    }

    /// Sends a datagram whole. `operation` says for errors what it is about.
    pub fn send(&self, operation: &'static str, datagram: &[u8]) -> Result<(), SocketError> {
        loop {
            match self.raw.send(datagram, 0) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(SocketError { operation, source }),
            }
        }
    }

    /// The next datagram of the kernel.
    pub fn receive(&mut self, operation: &'static str) -> Result<&[u8], SocketError> {
        loop {
            self.buffer.clear();
            match self.raw.recv(&mut self.buffer, MSG_TRUNC) {
                Ok(length) if length > self.buffer.len() => {
                    let source = io::Error::from_raw_os_error(crate::errno::ENOBUFS);
                    return Err(SocketError { operation, source });
                }
                Ok(_) => return Ok(&self.buffer),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(SocketError { operation, source }),
            }
        }
    }
}
