//! Netlink attributes: `u16 length, u16 type, payload`, padded to four bytes, host byte order.

use super::Malformed;
use super::constant::NLA_TYPE_MASK;

const HEADER: usize = 4;

fn padded(length: usize) -> usize {
    length.next_multiple_of(4)
}

/// Appends one attribute.
pub(crate) fn put(buffer: &mut Vec<u8>, kind: u16, payload: &[u8]) {
    let length =
        u16::try_from(HEADER + payload.len()).expect("our attributes are far shorter than 64 KiB");
    buffer.extend_from_slice(&length.to_ne_bytes());
    buffer.extend_from_slice(&kind.to_ne_bytes());
    buffer.extend_from_slice(payload);
    buffer.resize(padded(buffer.len()), 0);
}

/// Appends an attribute whose payload is what `fill` appends. The kernel takes nests without `NLA_F_NESTED`;
/// `ipvsadm` sends the flag, and so do we.
pub(crate) fn nest(buffer: &mut Vec<u8>, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    const NLA_F_NESTED: u16 = 0x8000;
    let start = buffer.len();
    buffer.extend_from_slice(&[0; HEADER]);
    fill(buffer);
    let length =
        u16::try_from(buffer.len() - start).expect("our attributes are far shorter than 64 KiB");
    buffer[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    buffer[start + 2..start + HEADER].copy_from_slice(&(kind | NLA_F_NESTED).to_ne_bytes());
}

/// Walks over the attributes in `bytes`; ends after the first malformed one.
#[derive(Debug, Clone)]
pub struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// Over these bytes, which start with an attribute.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<(u16, &'a [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let bytes = std::mem::take(&mut self.0);
        let short = Malformed::Short {
            what: "an attribute",
        };
        let Some((header, _)) = bytes.split_first_chunk::<HEADER>() else {
            return Some(Err(short));
        };
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & NLA_TYPE_MASK;
        let Some(payload) = bytes.get(HEADER..length) else {
            return Some(Err(short));
        };
        self.0 = bytes.get(padded(length)..).unwrap_or_default();
        Some(Ok((kind, payload)))
    }
}

/// Reads a number from the start of a payload.
pub(crate) fn u16_of(payload: &[u8], what: &'static str) -> Result<u16, Malformed> {
    payload
        .first_chunk()
        .map(|b| u16::from_ne_bytes(*b))
        .ok_or(Malformed::Short { what })
}

/// Reads a number in network byte order.
pub(crate) fn be16_of(payload: &[u8], what: &'static str) -> Result<u16, Malformed> {
    payload
        .first_chunk()
        .map(|b| u16::from_be_bytes(*b))
        .ok_or(Malformed::Short { what })
}

/// Reads a number from the start of a payload.
pub(crate) fn u32_of(payload: &[u8], what: &'static str) -> Result<u32, Malformed> {
    payload
        .first_chunk()
        .map(|b| u32::from_ne_bytes(*b))
        .ok_or(Malformed::Short { what })
}
