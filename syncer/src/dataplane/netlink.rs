//! Netlink's messages, whatever they are about: one after the other in a datagram, without a socket.

use netlink_packet_core::{DecodeError, NLM_F_REQUEST, NetlinkBuffer};
use nix::libc;

/// Before each message.
const HEADER: usize = 16;
/// The header of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
}

/// Appends a message.
pub(crate) fn put(datagram: &mut Vec<u8>, request: Request, body: &[u8]) {
    let length = HEADER.saturating_add(body.len());
    let start = datagram.len();
    datagram.resize(start.saturating_add(HEADER), 0);
    let mut header = NetlinkBuffer::new(&mut datagram[start..]);
    header.set_length(u32::try_from(length).unwrap_or(u32::MAX));
    header.set_message_type(request.kind);
    header.set_flags(request.flags | NLM_F_REQUEST);
    header.set_sequence_number(request.sequence);
    datagram.extend_from_slice(body);
    datagram.resize(datagram.len().next_multiple_of(4), 0);
}

/// One message of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reply<'a> {
    pub(crate) kind: u16,
    pub(crate) sequence: u32,
    /// The dump that it belongs to raced with a change.
    pub(crate) interrupted: bool,
    pub(crate) body: Body<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body<'a> {
    /// 0, or why not.
    Acknowledged(i32),
    EndOfDump(i32),
    Data(&'a [u8]),
}

/// The messages of a datagram; ends after the first that can't be read.
pub(crate) fn replies(datagram: &[u8]) -> impl Iterator<Item = Result<Reply<'_>, DecodeError>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let bytes = std::mem::take(&mut rest);
        let header = match NetlinkBuffer::new_checked(bytes) {
            Ok(header) => header,
            Err(error) => return Some(Err(error)),
        };
        let length = usize::try_from(header.length()).unwrap_or(usize::MAX);
        rest = bytes
            .get(length.saturating_add(3) & !3..)
            .unwrap_or_default();
        let body = bytes.get(HEADER..length).unwrap_or_default();
        Some(reply(&header, body))
    })
}

fn reply<'a>(header: &NetlinkBuffer<&[u8]>, body: &'a [u8]) -> Result<Reply<'a>, DecodeError> {
    let errno = || {
        let number = body.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes));
        number.map(i32::saturating_neg)
    };
    let kind = i32::from(header.message_type());
    let body = match kind {
        libc::NLMSG_ERROR => Body::Acknowledged(errno().ok_or("an acknowledgement too short")?),
        libc::NLMSG_DONE => Body::EndOfDump(errno().unwrap_or(0)),
        _ => Body::Data(body),
    };
    Ok(Reply {
        kind: header.message_type(),
        sequence: header.sequence_number(),
        interrupted: header.flags() & netlink_packet_core::NLM_F_DUMP_INTR != 0,
        body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_is_read_message_by_message_to_its_first_torn_one() {
        let mut datagram = Vec::new();
        let request = |kind, sequence| Request {
            kind,
            flags: 0,
            sequence,
        };
        put(&mut datagram, request(libc::RTM_NEWADDR, 5), b"abcde");
        put(&mut datagram, request(2, 6), &(-17_i32).to_ne_bytes());
        put(&mut datagram, request(3, 7), &[]);
        datagram.extend([40, 0, 0]);
        let read: Vec<_> = replies(&datagram).collect();
        let bodies: Vec<_> = read.iter().flatten().map(|reply| reply.body).collect();
        let expected = [
            Body::Data(b"abcde".as_slice()),
            Body::Acknowledged(17),
            Body::EndOfDump(0),
        ];
        assert_eq!(bodies, expected);
        assert!(read.len() == 4 && read[3].is_err(), "{read:?}");
    }
}
