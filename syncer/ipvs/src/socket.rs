//! One blocking generic netlink socket, bound to the network namespace of the thread that opened it.
//!
//! Requests are answered by the kernel within the send itself, so there is nothing to wait for; the receive time-out
//! only guards against an answer that never comes.

use std::io;

use netlink_sys::protocols::NETLINK_GENERIC;
use netlink_sys::{Socket as Raw, SocketAddr};
use nix::sys::socket::{setsockopt, sockopt::ReceiveTimeout};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::error::Error;

/// The kernel sizes dump answers by the largest buffer it has seen, up to 32 KiB: large ones keep dumps short.
const BUFFER: usize = 64 * 1024;
const MSG_TRUNC: i32 = 0x20;

#[derive(Debug)]
pub(crate) struct Socket {
    raw: Raw,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    pub(crate) fn open() -> Result<Self, Error> {
        let failed = |operation| move |source| Error::Socket { operation, source };
        let mut raw = Raw::new(NETLINK_GENERIC).map_err(failed("open a socket"))?;
        raw.bind_auto().map_err(failed("bind"))?;
        raw.connect(&SocketAddr::new(0, 0))
            .map_err(failed("connect to the kernel"))?;
        raw.set_rx_buf_sz(1_i32 << 20)
            .map_err(failed("set the receive buffer"))?;
        // Without it every acknowledgement carries the whole request.
        raw.set_cap_ack(true)
            .map_err(failed("ask for short acknowledgements"))?;
        setsockopt(&raw, ReceiveTimeout, &TimeVal::seconds(5))
            .map_err(|errno| failed("set the receive time-out")(errno.into()))?;
        Ok(Self {
            raw,
            sequence: 1,
            buffer: Vec::with_capacity(BUFFER),
        })
    }

    /// The first of `count` fresh sequence numbers.
    pub(crate) fn sequences(&mut self, count: u32) -> u32 {
        let first = self.sequence;
        self.sequence = self.sequence.wrapping_add(count).max(1);
        first
    }

    pub(crate) fn send(&self, operation: &'static str, datagram: &[u8]) -> Result<(), Error> {
        loop {
            match self.raw.send(datagram, 0) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::Socket { operation, source }),
            }
        }
    }

    /// The next datagram of the kernel.
    pub(crate) fn receive(&mut self, operation: &'static str) -> Result<&[u8], Error> {
        loop {
            self.buffer.clear();
            match self.raw.recv(&mut self.buffer, MSG_TRUNC) {
                Ok(length) if length > self.buffer.len() => {
                    return Err(Error::Overrun { operation });
                }
                Ok(_) => return Ok(&self.buffer),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(crate::errno::ENOBUFS) => {
                    return Err(Error::Overrun { operation });
                }
                Err(source) => return Err(Error::Socket { operation, source }),
            }
        }
    }
}
