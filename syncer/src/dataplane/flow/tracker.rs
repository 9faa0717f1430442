//! A conversation with the connection tracker: all flows listed, some of them forgotten.
//!
//! It blocks, and each question goes through all that is tracked: who must not wait asks on a thread for it.

use std::io;
use std::net::IpAddr;

use ipvs::socket::{Socket, SocketError};
use netlink_packet_core::{DecodeError, NLM_F_ACK, NLM_F_DUMP};
use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::libc;
use tracing::debug;

use super::message::{self, Flow};
use crate::dataplane::netlink::{self, Body, Request};

/// The subsystem of the tracker, and what it is asked.
const SUBSYSTEM: u16 = 1 << 8;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;

/// How many are forgotten in one send. All their acknowledgements fit the receive buffer.
const BATCH: usize = 128;

/// The connection tracker can't be asked.
#[derive(Debug, thiserror::Error)]
pub enum TrackerError {
    #[error("the connection tracker: {operation}")]
    Socket {
        operation: &'static str,
        source: io::Error,
    },
    #[error("the connection tracker: {operation}: an answer that can't be read")]
    Malformed {
        operation: &'static str,
        source: DecodeError,
    },
    #[error("the thread that asks the connection tracker has ended")]
    Ended,
}

impl From<SocketError> for TrackerError {
    fn from(error: SocketError) -> Self {
        let SocketError { operation, source } = error;
        Self::Socket { operation, source }
    }
}

/// The tracker of one network namespace.
#[derive(Debug)]
pub(super) struct Tracker(Socket);

impl Tracker {
    /// Opens a socket in the calling thread's network namespace.
    pub(super) fn open() -> Result<Self, TrackerError> {
        Ok(Self(Socket::open(NETLINK_NETFILTER)?))
    }

    /// Lists those flows of the address's family that `which` is true for.
    pub(super) fn flows(
        &mut self,
        family_of: IpAddr,
        which: impl Fn(&Flow) -> bool,
    ) -> Result<Vec<Flow>, TrackerError> {
        const OPERATION: &str = "list flows";
        let sequence = self.0.sequences(1);
        let request = Request {
            kind: GET,
            flags: NLM_F_DUMP,
            sequence,
        };
        let mut datagram = Vec::new();
        let body = message::of_all(message::family_of(family_of));
        netlink::put(&mut datagram, request, &body);
        self.0.send(OPERATION, &datagram)?;
        let mut found = Vec::new();
        loop {
            for reply in netlink::replies(self.0.receive(OPERATION)?) {
                let reply = reply.map_err(malformed(OPERATION))?;
                if reply.sequence != sequence {
                    continue;
                }
                match reply.body {
                    Body::Data(body) => match message::flow(body) {
                        Ok(flow) => found.extend(flow.filter(&which)),
                        // One odd entry hides no other.
                        Err(error) => debug!(%error, "a flow that can't be read"),
                    },
                    Body::Acknowledged(0) | Body::EndOfDump(0) => return Ok(found),
                    Body::Acknowledged(errno) | Body::EndOfDump(errno) => {
                        return Err(refused(OPERATION, errno));
                    }
                }
            }
        }
    }

    /// Forgets these; one that has gone by itself is as good.
    pub(super) fn forget(&mut self, flows: &[Flow]) -> Result<(), TrackerError> {
        const OPERATION: &str = "forget flows";
        for batch in flows.chunks(BATCH) {
            let first = self
                .0
                .sequences(u32::try_from(batch.len()).unwrap_or(u32::MAX));
            let mut datagram = Vec::new();
            for (sequence, flow) in (first..).zip(batch) {
                let request = Request {
                    kind: DELETE,
                    flags: NLM_F_ACK,
                    sequence,
                };
                netlink::put(&mut datagram, request, &message::of_forgetting(flow));
            }
            self.0.send(OPERATION, &datagram)?;
            let mut failed = None;
            let mut answered = 0;
            while answered < batch.len() {
                for reply in netlink::replies(self.0.receive(OPERATION)?) {
                    let reply = reply.map_err(malformed(OPERATION))?;
                    let at = usize::try_from(reply.sequence.wrapping_sub(first));
                    let is_ours = at.is_ok_and(|at| at < batch.len());
                    if let (true, Body::Acknowledged(errno)) = (is_ours, reply.body) {
                        answered += 1;
                        if ![0, libc::ENOENT].contains(&errno) {
                            failed = Some(errno);
                        }
                    }
                }
            }
            if let Some(errno) = failed {
                return Err(refused(OPERATION, errno));
            }
        }
        Ok(())
    }
}

fn refused(operation: &'static str, errno: i32) -> TrackerError {
    TrackerError::Socket {
        operation,
        source: io::Error::from_raw_os_error(errno),
    }
}

fn malformed(operation: &'static str) -> impl FnOnce(DecodeError) -> TrackerError {
    move |source| TrackerError::Malformed { operation, source }
}
