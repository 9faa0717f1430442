//! One route netlink socket: dumps of addresses and links, and changes, many in one send.
//!
//! It blocks: the kernel answers within the send, once it has its lock. Who must not wait asks by way of a thread.

use std::collections::BTreeMap;
use std::io;

use ipvs::socket::Socket;
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL};
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::libc;
use tracing::debug;

use super::message::{self, AddressEntry};
use super::{AddressError, Change};
use crate::dataplane::netlink::{self, Body, Request};

/// Changes in one send. All their acknowledgements fit the receive buffer.
const BATCH: usize = 128;
/// How often a dump is asked for that raced with a change; the last one is taken as it is.
const DUMP_TRIES: u32 = 4;

/// A conversation with the network stack of one network namespace.
#[derive(Debug)]
pub(super) struct RouteSocket(Socket);

/// What the kernel answered to a change: 0, or the errno.
pub(super) type Answer = i32;

impl RouteSocket {
    /// Opens a socket in the calling thread's network namespace.
    pub(super) fn open() -> Result<Self, AddressError> {
        Ok(Self(Socket::open(NETLINK_ROUTE)?))
    }

    /// Finds the interface's index; `None` where there is no such interface.
    pub(super) fn index(&mut self, name: &str) -> Result<Option<u32>, AddressError> {
        const OPERATION: &str = "find the interface";
        let mut index = None;
        let body = message::of_links(Some(name));
        let answer = self.ask(OPERATION, libc::RTM_GETLINK, NLM_F_ACK, &body, |body| {
            index = Some(message::link(body)?.0);
            Ok(())
        })?;
        match answer.errno {
            0 => Ok(index),
            // The last two: a name that is too long for any.
            libc::ENODEV | libc::ERANGE | libc::EINVAL => Ok(None),
            errno => Err(AddressError::Socket {
                operation: OPERATION,
                source: io::Error::from_raw_os_error(errno),
            }),
        }
    }

    /// Lists the names of all interfaces.
    pub(super) fn names(&mut self) -> Result<BTreeMap<u32, String>, AddressError> {
        let body = message::of_links(None);
        let links = self.dump("list interfaces", libc::RTM_GETLINK, &body, |body| {
            message::link(body).map(Some)
        })?;
        Ok(links.into_iter().collect())
    }

    /// Lists all addresses of all interfaces.
    pub(super) fn addresses(&mut self) -> Result<Vec<AddressEntry>, AddressError> {
        let body = message::of_addresses();
        self.dump(
            "list addresses",
            libc::RTM_GETADDR,
            &body,
            message::address_entry,
        )
    }

    /// Does all changes in order, whatever becomes of each; one answer a change.
    pub(super) fn change(
        &mut self,
        index: u32,
        label: Option<&str>,
        changes: &[Change],
    ) -> Result<Vec<Answer>, AddressError> {
        let mut answers = Vec::with_capacity(changes.len());
        for batch in changes.chunks(BATCH) {
            answers.extend(self.batch(index, label, batch)?);
        }
        Ok(answers)
    }

    fn batch(
        &mut self,
        index: u32,
        label: Option<&str>,
        changes: &[Change],
    ) -> Result<Vec<Answer>, AddressError> {
        const OPERATION: &str = "change addresses";
        let count = u32::try_from(changes.len()).unwrap_or(u32::MAX);
        let first = self.0.sequences(count);
        let mut datagram = Vec::new();
        for (sequence, change) in (first..).zip(changes) {
            let (kind, flags) = match change {
                // Never one that is there: it may be somebody's, with a lifetime of its own.
                Change::Add(_) => (libc::RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL),
                Change::Remove(_) => (libc::RTM_DELADDR, 0),
            };
            let request = Request {
                kind,
                flags: flags | NLM_F_ACK,
                sequence,
            };
            let body = message::of_change(*change, index, label);
            netlink::put(&mut datagram, request, &body);
        }
        self.0.send(OPERATION, &datagram)?;
        let mut answers: Vec<Option<Answer>> = vec![None; changes.len()];
        while answers.iter().any(Option::is_none) {
            for reply in netlink::replies(self.0.receive(OPERATION)?) {
                let reply = reply.map_err(malformed(OPERATION))?;
                let at = usize::try_from(reply.sequence.wrapping_sub(first)).unwrap_or(usize::MAX);
                // Another is left over from a conversation that broke off.
                if let (Some(answer), Body::Acknowledged(errno)) = (answers.get_mut(at), reply.body)
                {
                    *answer = Some(errno);
                }
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }

    /// Asks for a dump. What can't be read of it is left out: one odd entry hides no other.
    fn dump<T>(
        &mut self,
        operation: &'static str,
        kind: u16,
        body: &[u8],
        read: impl Fn(&[u8]) -> Result<Option<T>, netlink_packet_core::DecodeError>,
    ) -> Result<Vec<T>, AddressError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut found = Vec::new();
            let answer = self.ask(operation, kind, NLM_F_DUMP, body, |body| {
                match read(body) {
                    Ok(entry) => found.extend(entry),
                    Err(error) => debug!(operation, %error, "an entry that can't be read"),
                }
                Ok(())
            })?;
            if answer.errno != 0 {
                return Err(AddressError::Socket {
                    operation,
                    source: io::Error::from_raw_os_error(answer.errno),
                });
            }
            if !answer.interrupted || tries == DUMP_TRIES {
                return Ok(found);
            }
        }
    }

    fn ask(
        &mut self,
        operation: &'static str,
        kind: u16,
        flags: u16,
        body: &[u8],
        mut take: impl FnMut(&[u8]) -> Result<(), netlink_packet_core::DecodeError>,
    ) -> Result<End, AddressError> {
        let sequence = self.0.sequences(1);
        let mut datagram = Vec::new();
        let request = Request {
            kind,
            flags,
            sequence,
        };
        netlink::put(&mut datagram, request, body);
        self.0.send(operation, &datagram)?;
        let mut interrupted = false;
        loop {
            for reply in netlink::replies(self.0.receive(operation)?) {
                let reply = reply.map_err(malformed(operation))?;
                if reply.sequence != sequence {
                    continue;
                }
                interrupted |= reply.interrupted;
                match reply.body {
                    Body::Data(body) => take(body).map_err(malformed(operation))?,
                    Body::Acknowledged(errno) | Body::EndOfDump(errno) => {
                        return Ok(End { errno, interrupted });
                    }
                }
            }
        }
    }
}

/// How an answer ended.
#[derive(Debug, Clone, Copy)]
struct End {
    errno: i32,
    interrupted: bool,
}

fn malformed(
    operation: &'static str,
) -> impl FnOnce(netlink_packet_core::DecodeError) -> AddressError {
    move |source| AddressError::Malformed { operation, source }
}
