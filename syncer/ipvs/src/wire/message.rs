//! Framing: `nlmsghdr` (16 bytes), `genlmsghdr` (4 bytes), attributes; several messages may share one datagram.

use super::Malformed;
use super::attribute::{Attributes, put, u16_of};
use super::constant::{
    CTRL_ATTR_FAMILY_ID, CTRL_ATTR_FAMILY_NAME, CTRL_CMD_GETFAMILY, GENL_ID_CTRL, IPVS_GENL_NAME,
    IPVS_GENL_VERSION, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR,
};

const HEADER: usize = 16;
const GENL_HEADER: usize = 4;

/// What one request is: its kind of answer and its command.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// `NLM_F_*` beside `NLM_F_REQUEST`.
    pub flags: u16,
    /// `IPVS_CMD_*`.
    pub command: u8,
    /// Comes back in every answer.
    pub sequence: u32,
}

/// Appends one request to a datagram; `fill` appends its attributes.
pub fn put_request(
    buffer: &mut Vec<u8>,
    family: u16,
    request: Request,
    fill: impl FnOnce(&mut Vec<u8>),
) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; 4]);
    buffer.extend_from_slice(&family.to_ne_bytes());
    buffer.extend_from_slice(&(NLM_F_REQUEST | request.flags).to_ne_bytes());
    buffer.extend_from_slice(&request.sequence.to_ne_bytes());
    buffer.extend_from_slice(&0_u32.to_ne_bytes());
    buffer.extend_from_slice(&[request.command, IPVS_GENL_VERSION, 0, 0]);
    fill(buffer);
    let length = u32::try_from(buffer.len() - start).expect("a request of ours is far below 4 GiB");
    buffer[start..start + 4].copy_from_slice(&length.to_ne_bytes());
}

/// Appends the question for the family's number.
pub fn put_family_request(buffer: &mut Vec<u8>, sequence: u32) {
    let request = Request {
        flags: 0,
        command: CTRL_CMD_GETFAMILY,
        sequence,
    };
    put_request(buffer, GENL_ID_CTRL, request, |buffer| {
        put(buffer, CTRL_ATTR_FAMILY_NAME, IPVS_GENL_NAME);
    });
}

/// The family's number in the answer to [`put_family_request`].
pub fn family_of(attributes: &[u8]) -> Result<u16, Malformed> {
    for attribute in Attributes::new(attributes) {
        let (kind, payload) = attribute?;
        if kind == CTRL_ATTR_FAMILY_ID {
            return u16_of(payload, "family id");
        }
    }
    Err(Malformed::Missing { what: "family id" })
}

/// One message of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply<'a> {
    pub sequence: u32,
    pub body: Body<'a>,
}

/// What a message of an answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body<'a> {
    /// Done; a positive errno where it failed, else 0.
    Acknowledged(i32),
    /// The end of a dump, with its errno.
    EndOfDump(i32),
    /// Attributes behind the generic header.
    Data(&'a [u8]),
}

/// Walks over the messages of one datagram; ends after the first malformed one.
#[derive(Debug, Clone)]
pub struct Replies<'a>(&'a [u8]);

impl<'a> Replies<'a> {
    /// Over one datagram.
    pub fn new(datagram: &'a [u8]) -> Self {
        Self(datagram)
    }
}

impl<'a> Iterator for Replies<'a> {
    type Item = Result<Reply<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let bytes = std::mem::take(&mut self.0);
        let Some((message, rest)) = split(bytes) else {
            return Some(Err(Malformed::Short {
                what: "a netlink message",
            }));
        };
        self.0 = rest;
        Some(reply(message))
    }
}

fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
    let message = bytes
        .get(..length)
        .filter(|message| message.len() >= HEADER)?;
    Some((
        message,
        bytes.get(length.next_multiple_of(4)..).unwrap_or_default(),
    ))
}

fn reply(message: &[u8]) -> Result<Reply<'_>, Malformed> {
    let short = |what| Malformed::Short { what };
    let kind = u16_of(message.get(4..).unwrap_or_default(), "message type")?;
    let sequence = message
        .get(8..)
        .and_then(<[u8]>::first_chunk)
        .ok_or(short("sequence number"))?;
    let payload = message.get(HEADER..).unwrap_or_default();
    let errno = || {
        payload
            .first_chunk()
            .map(|b| i32::from_ne_bytes(*b).saturating_neg())
    };
    let body = match kind {
        NLMSG_ERROR => Body::Acknowledged(errno().ok_or(short("acknowledgement"))?),
        // The number behind DONE is optional.
        NLMSG_DONE => Body::EndOfDump(errno().unwrap_or(0)),
        _ => Body::Data(payload.get(GENL_HEADER..).ok_or(short("generic header"))?),
    };
    Ok(Reply {
        sequence: u32::from_ne_bytes(*sequence),
        body,
    })
}
