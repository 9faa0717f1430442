//! What the connection tracker says of a flow: bytes to values, and the request that it be forgotten. Without a socket.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipvs::Protocol;
use netlink_packet_core::{DecodeError, NLA_F_NESTED, NLA_HEADER_SIZE, NlasIterator};
use nix::libc;

/// `struct nfgenmsg`: family, version, resource.
const HEADER: usize = 4;

/// Attributes of a flow.
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const STATUS: u16 = 3;
const PROTOCOL_INFO: u16 = 4;
const ID: u16 = 12;
const ZONE: u16 = 18;
/// Attributes of a direction.
const ADDRESSES: u16 = 1;
const PORTS: u16 = 2;
/// Attributes of its addresses, by family.
const V4: [u16; 2] = [1, 2];
const V6: [u16; 2] = [3, 4];
/// Attributes of its protocol and ports.
const NUMBER: u16 = 1;
const SOURCE_PORT: u16 = 2;
const DESTINATION_PORT: u16 = 3;
/// The attribute of TCP's own, and of its state.
const TCP: u16 = 1;
const TCP_STATE: u16 = 1;

/// `IPS_SEEN_REPLY`
const SEEN_REPLY: u32 = 1 << 1;

/// One direction of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Direction {
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
}

/// A flow as it is tracked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flow {
    /// The IP protocol's number.
    protocol: u8,
    pub(super) original: Direction,
    /// What an answer is expected to look like.
    pub(super) reply: Direction,
    /// Whether one has come.
    pub(super) is_answered: bool,
    /// As the kernel numbers them.
    pub(super) tcp_state: Option<u8>,
    family: u8,
    /// Attributes that name it, as they came.
    name: Vec<(u16, Vec<u8>)>,
}

impl Flow {
    pub(super) fn is_of(&self, protocol: Protocol) -> bool {
        u16::from(self.protocol) == protocol.number()
    }
}

/// Asks for all flows of a family.
pub(super) fn of_all(family: u8) -> Vec<u8> {
    vec![family, 0, 0, 0]
}

/// Asks to forget this flow, and no later one between the same ports.
pub(super) fn of_forgetting(flow: &Flow) -> Vec<u8> {
    let mut body = of_all(flow.family);
    for (kind, value) in &flow.name {
        let nested = if *kind == ORIGINAL { NLA_F_NESTED } else { 0 };
        put(&mut body, kind | nested, value);
    }
    body
}

fn put(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = value.len().saturating_add(NLA_HEADER_SIZE);
    let length = u16::try_from(length).unwrap_or(u16::MAX);
    body.extend(length.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// `None`: it has no ports.
pub(super) fn flow(body: &[u8]) -> Result<Option<Flow>, DecodeError> {
    let family = *body.first().ok_or("a flow's message too short")?;
    let (mut original, mut reply, mut status, mut tcp_state) = (None, None, 0, None);
    let mut name = Vec::new();
    for (kind, value) in attributes(body.get(HEADER..).unwrap_or_default())? {
        match kind {
            ORIGINAL => original = direction(value)?,
            REPLY => reply = direction(value)?,
            STATUS => status = u32::from_be_bytes(first(value)?),
            PROTOCOL_INFO => tcp_state = state(value)?,
            _ => {}
        }
        if [ORIGINAL, ID, ZONE].contains(&kind) {
            name.push((kind, value.to_vec()));
        }
    }
    let (Some((protocol, original)), Some((_, reply))) = (original, reply) else {
        return Ok(None);
    };
    Ok(Some(Flow {
        protocol,
        original,
        reply,
        is_answered: status & SEEN_REPLY != 0,
        tcp_state,
        family,
        name,
    }))
}

fn direction(bytes: &[u8]) -> Result<Option<(u8, Direction)>, DecodeError> {
    let (mut addresses, mut ports, mut number) = ([None; 2], [None; 2], None);
    for (kind, value) in attributes(bytes)? {
        for (kind_within, value) in attributes(value)? {
            match (kind, kind_within) {
                (ADDRESSES, end) if V4.contains(&end) => {
                    let ip = Ipv4Addr::from(first::<4>(value)?);
                    addresses[usize::from(end - V4[0])] = Some(IpAddr::V4(ip));
                }
                (ADDRESSES, end) if V6.contains(&end) => {
                    let ip = Ipv6Addr::from(first::<16>(value)?);
                    addresses[usize::from(end - V6[0])] = Some(IpAddr::V6(ip));
                }
                (PORTS, NUMBER) => number = value.first().copied(),
                (PORTS, end @ (SOURCE_PORT | DESTINATION_PORT)) => {
                    let port = u16::from_be_bytes(first(value)?);
                    ports[usize::from(end - SOURCE_PORT)] = Some(port);
                }
                _ => {}
            }
        }
    }
    let end = |at: usize| Some(SocketAddr::new(addresses[at]?, ports[at]?));
    let whole = || {
        let [source, destination] = [end(0)?, end(1)?];
        let ends = Direction {
            source,
            destination,
        };
        Some((number?, ends))
    };
    Ok(whole())
}

fn state(bytes: &[u8]) -> Result<Option<u8>, DecodeError> {
    for (kind, value) in attributes(bytes)? {
        if kind == TCP {
            let mut of_tcp = attributes(value)?.into_iter();
            let state = of_tcp.find(|(kind, _)| *kind == TCP_STATE);
            return Ok(state.and_then(|(_, value)| value.first().copied()));
        }
    }
    Ok(None)
}

/// Kinds without their flags, and values.
fn attributes(bytes: &[u8]) -> Result<Vec<(u16, &[u8])>, DecodeError> {
    NlasIterator::new(bytes)
        .map(|attribute| {
            let attribute = attribute?;
            let (kind, length) = (attribute.kind(), usize::from(attribute.length()));
            let value = attribute.into_inner().get(NLA_HEADER_SIZE..length);
            Ok((kind, value.unwrap_or_default()))
        })
        .collect()
}

fn first<const N: usize>(value: &[u8]) -> Result<[u8; N], DecodeError> {
    let chunk = value.first_chunk().copied();
    chunk.ok_or_else(|| "a value too short".into())
}

/// The kernel's number of a family.
pub(super) fn family_of(ip: IpAddr) -> u8 {
    let number = if ip.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    u8::try_from(number).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A flow of UDP through a director with SNAT, as a kernel listed it: `conntrack -L` has it as `src=198.18.39.100
    /// dst=198.18.39.33 sport=41726 dport=7 src=198.18.39.11 dst=198.18.39.28 sport=30919 dport=41726`.
    fn listed(status: u32) -> Vec<u8> {
        let direction = |ends: [(&str, u16); 2]| {
            let (mut addresses, mut ports, mut all) = (Vec::new(), Vec::new(), Vec::new());
            put(&mut ports, NUMBER, &[17]);
            for (at, (ip, port)) in (0..).zip(ends) {
                let ip: Ipv4Addr = ip.parse().unwrap();
                put(&mut addresses, V4[0] + at, &ip.octets());
                put(&mut ports, SOURCE_PORT + at, &port.to_be_bytes());
            }
            put(&mut all, ADDRESSES | NLA_F_NESTED, &addresses);
            put(&mut all, PORTS | NLA_F_NESTED, &ports);
            all
        };
        let client = ("198.18.39.100", 41726);
        let original = direction([client, ("198.18.39.33", 7)]);
        let reply = direction([("198.18.39.11", 30919), ("198.18.39.28", 41726)]);
        let mut body = vec![2, 0, 0, 0];
        put(&mut body, ORIGINAL | NLA_F_NESTED, &original);
        put(&mut body, REPLY | NLA_F_NESTED, &reply);
        put(&mut body, STATUS, &status.to_be_bytes());
        put(&mut body, 7, &30_u32.to_be_bytes());
        put(&mut body, ID, &[1, 2, 3, 4]);
        body
    }

    #[test]
    fn a_flow_is_read_with_both_its_directions_and_forgotten_by_its_name() {
        let at = |text: &str| -> SocketAddr { text.parse().unwrap() };
        let read = flow(&listed(0x1a)).unwrap().unwrap();
        let original = Direction {
            source: at("198.18.39.100:41726"),
            destination: at("198.18.39.33:7"),
        };
        let reply = Direction {
            source: at("198.18.39.11:30919"),
            destination: at("198.18.39.28:41726"),
        };
        assert_eq!((read.original, read.reply), (original, reply));
        assert_eq!((read.protocol, read.is_answered), (17, true));
        assert!(!flow(&listed(0x18)).unwrap().unwrap().is_answered);
        let forgetting = of_forgetting(&read);
        assert!(forgetting.starts_with(&[2, 0, 0, 0]) && forgetting.ends_with(&[1, 2, 3, 4]));
        // A flow by its first direction alone has no answer to expect: it is none that could be told from others.
        assert_eq!(flow(&forgetting).unwrap(), None);
    }

    #[test]
    fn a_flow_cut_off_anywhere_is_an_error_or_none_and_never_a_wrong_one() {
        let whole = listed(0);
        let read = flow(&whole).unwrap();
        for end in 0..whole.len() {
            if let Ok(Some(flow)) = flow(&whole[..end]) {
                let is_same =
                    |other: &Flow| (other.original, other.reply) == (flow.original, flow.reply);
                assert!(read.as_ref().is_some_and(is_same), "{end}");
            }
        }
    }

    #[test]
    fn tcp_has_a_state() {
        let (mut of_tcp, mut info) = (Vec::new(), Vec::new());
        put(&mut of_tcp, TCP_STATE, &[3]);
        put(&mut info, TCP | NLA_F_NESTED, &of_tcp);
        let mut body = listed(0);
        put(&mut body, PROTOCOL_INFO | NLA_F_NESTED, &info);
        assert_eq!(flow(&body).unwrap().unwrap().tcp_state, Some(3));
    }
}
