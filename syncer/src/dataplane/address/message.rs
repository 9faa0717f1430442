//! Route netlink's messages, as far as addresses need them: bytes to values and back, without a socket.
//!
//! Of a link only the name is read, so that nothing else that a kernel says of its links can spoil it.

use std::net::IpAddr;

use netlink_packet_core::{DecodeError, DefaultNla, Emitable, NlasIterator, Parseable};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{
    AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope, CacheInfo,
};
use nix::libc;

use super::{Change, host_prefix};

/// `struct ifinfomsg`.
const LINK_HEADER: usize = 16;
const LINK_INDEX: std::ops::Range<usize> = 4..8;
/// Leaves a link's counters out, for they are long and nobody reads them here. The flag is not in `libc`.
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;

/// An address as a dump lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AddressEntry {
    pub(super) index: u32,
    pub(super) address: IpAddr,
    pub(super) prefix: u8,
    pub(super) label: Option<String>,
}

/// `None` where it says no address.
pub(super) fn address_entry(body: &[u8]) -> Result<Option<AddressEntry>, DecodeError> {
    let message = AddressMessage::parse(body)?;
    let (mut local, mut address, mut label) = (None, None, None);
    for attribute in message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(ip),
            AddressAttribute::Address(ip) => address = Some(ip),
            AddressAttribute::Label(text) => label = Some(text),
            _ => {}
        }
    }
    // Where both are said and differ, the other is the far end's.
    Ok(local.or(address).map(|address| AddressEntry {
        index: message.header.index,
        address,
        prefix: message.header.prefix_len,
        label,
    }))
}

/// A request about a host address of the interface with that index.
pub(super) fn of_change(change: Change, index: u32, label: Option<&str>) -> Vec<u8> {
    let vip = change.vip();
    let mut message = AddressMessage::default();
    message.header.family = if vip.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    message.header.prefix_len = host_prefix(vip);
    message.header.index = index;
    message.header.scope = AddressScope::Universe;
    message.attributes = vec![AddressAttribute::Local(vip), AddressAttribute::Address(vip)];
    if let Change::Add(_) = change {
        if vip.is_ipv6() {
            // It was looked for another holder already, and a VIP answers at once.
            message.header.flags = AddressHeaderFlags::Nodad;
            message
                .attributes
                .push(AddressAttribute::CacheInfo(nobodys_source()));
        } else if let Some(label) = label {
            let label = AddressAttribute::Label(label.to_owned());
            message.attributes.push(label);
        }
    }
    emitted(&message)
}

/// For ever, and never preferred. Of two addresses the kernel takes for a source the one that has more in common with the destination, and
/// a host's address may have all bits in common where the machine's own has those of its network: SNAT, and this machine's own
/// connections, would go out by a VIP, and break when it goes.
fn nobodys_source() -> CacheInfo {
    let mut lifetimes = CacheInfo::default();
    lifetimes.ifa_valid = u32::MAX;
    lifetimes
}

/// Writes the request for a dump of addresses of both families.
pub(super) fn of_addresses() -> Vec<u8> {
    emitted(&AddressMessage::default())
}

/// Writes the request for a link of that name, or for a dump of all.
pub(super) fn of_links(name: Option<&str>) -> Vec<u8> {
    let mask = RTEXT_FILTER_SKIP_STATS.to_ne_bytes().to_vec();
    let mut attributes = vec![DefaultNla::new(libc::IFLA_EXT_MASK, mask)];
    if let Some(name) = name {
        let text = [name.as_bytes(), &[0]].concat();
        attributes.push(DefaultNla::new(libc::IFLA_IFNAME, text));
    }
    let mut body = vec![0; LINK_HEADER];
    body.extend(emitted(&attributes.as_slice()));
    body
}

/// A link's index and name.
pub(super) fn link(body: &[u8]) -> Result<(u32, String), DecodeError> {
    let short = "a link's message too short";
    let index = body.get(LINK_INDEX).and_then(<[u8]>::first_chunk);
    let index = u32::from_ne_bytes(*index.ok_or(short)?);
    for attribute in NlasIterator::new(body.get(LINK_HEADER..).ok_or(short)?) {
        let attribute = attribute?;
        if attribute.kind() == libc::IFLA_IFNAME {
            return Ok((index, netlink_packet_core::parse_string(attribute.value())?));
        }
    }
    Err("a link without a name".into())
}

fn emitted(body: &impl Emitable) -> Vec<u8> {
    let mut bytes = vec![0; body.buffer_len()];
    body.emit(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_address_goes_out_as_the_kernel_lists_it() {
        for (text, label, prefix) in [
            ("198.18.0.29", Some("eth0:ipvs"), 32),
            ("2001:db8::29", None, 128),
        ] {
            let vip = text.parse().unwrap();
            let body = of_change(Change::Add(vip), 7, label);
            let expected = AddressEntry {
                index: 7,
                address: vip,
                prefix,
                label: label.map(str::to_owned),
            };
            assert_eq!(address_entry(&body).unwrap(), Some(expected));
        }
        let vip = "2001:db8::29".parse().unwrap();
        let flags = |change| of_change(change, 7, None)[2];
        assert_eq!(
            (flags(Change::Add(vip)), flags(Change::Remove(vip))),
            (2, 0),
            "IFA_F_NODAD where it is added"
        );
        let lifetimes = |vip: &str| {
            let body = of_change(Change::Add(vip.parse().unwrap()), 7, None);
            let attributes = AddressMessage::parse(&body).unwrap().attributes;
            attributes
                .into_iter()
                .find_map(|attribute| match attribute {
                    AddressAttribute::CacheInfo(info) => Some((info.ifa_preferred, info.ifa_valid)),
                    _ => None,
                })
        };
        assert_eq!(lifetimes("2001:db8::29"), Some((0, u32::MAX)));
        assert_eq!(lifetimes("198.18.0.29"), None);
    }

    #[test]
    fn the_near_end_of_a_point_to_point_link_is_its_address() {
        let mut message = AddressMessage::default();
        message.header.prefix_len = 32;
        let [near, far] = ["192.0.2.1", "192.0.2.2"].map(|ip| ip.parse().unwrap());
        message.attributes = vec![
            AddressAttribute::Address(far),
            AddressAttribute::Local(near),
        ];
        let listed = address_entry(&emitted(&message)).unwrap().unwrap();
        assert_eq!(listed.address, near);
        let nothing = emitted(&AddressMessage::default());
        assert_eq!(super::address_entry(&nothing).unwrap(), None);
    }

    #[test]
    fn a_link_s_name_is_read_whatever_else_is_said_of_it() {
        let mut body = of_links(Some("eth0"));
        body[LINK_INDEX].copy_from_slice(&3_u32.to_ne_bytes());
        assert_eq!(link(&body).unwrap(), (3, "eth0".to_owned()));
        assert!(link(&body[..12]).is_err() && link(&of_links(None)).is_err());
    }
}
