//! Neighbour discovery for IPv6: a solicitation, an unsolicited advertisement, and who answers. Pure.

use std::net::Ipv6Addr;

use super::Mac;

const IPV6: [u8; 2] = [0x86, 0xdd];
const ICMP6: u8 = 58;
/// The hop limit of a packet that was never forwarded: one with less is from outside of the link, and is ignored.
const HOPS: u8 = 255;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// "Replace what you knew".
const OVERRIDE: [u8; 4] = [0x20, 0, 0, 0];
const TARGET_LINK: u8 = 2;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Asks who has the address; the sender is unspecified, as for a duplicate address.
pub(super) fn probe(from: Mac, vip: Ipv6Addr) -> Vec<u8> {
    let [.., a, b, c] = vip.octets();
    let [low, high] = [u16::from_be_bytes([0xff, a]), u16::from_be_bytes([b, c])];
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, low, high);
    let mut message = vec![SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    message.extend(vip.octets());
    frame(from, Ipv6Addr::UNSPECIFIED, group, message)
}

/// It is here.
pub(super) fn announcement(from: Mac, vip: Ipv6Addr) -> Vec<u8> {
    let mut message = vec![ADVERTISEMENT, 0, 0, 0];
    message.extend(OVERRIDE);
    message.extend(vip.octets());
    message.extend([TARGET_LINK, 1]);
    message.extend(from.0);
    frame(from, vip, ALL_NODES, message)
}

/// Whoever says in this ICMPv6 message that it has an address; not all say where they are.
pub(super) fn holder(message: &[u8]) -> Option<(Ipv6Addr, Option<Mac>)> {
    let (header, rest) = message.split_first_chunk::<8>()?;
    if header.first() != Some(&ADVERTISEMENT) {
        return None;
    }
    let (vip, options) = rest.split_first_chunk::<16>()?;
    let link = options.strip_prefix(&[TARGET_LINK, 1]);
    let mac = link.and_then(|link| link.first_chunk::<6>());
    Some((Ipv6Addr::from(*vip), mac.map(|mac| Mac(*mac))))
}

fn frame(from: Mac, sender: Ipv6Addr, group: Ipv6Addr, mut message: Vec<u8>) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let sum = checksum(sender, group, length, &message);
    if let Some(field) = message.get_mut(2..4) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
    let [.., a, b, c, d] = group.octets();
    let mut frame = vec![0x33, 0x33, a, b, c, d];
    frame.extend(from.0);
    frame.extend(IPV6);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend(length.to_be_bytes());
    frame.extend([ICMP6, HOPS]);
    frame.extend(sender.octets());
    frame.extend(group.octets());
    frame.extend(message);
    frame
}

/// Over the addresses, the length, the kind and the message whose own field is zero.
fn checksum(sender: Ipv6Addr, group: Ipv6Addr, length: u16, message: &[u8]) -> u16 {
    let mut words: Vec<u8> = Vec::new();
    words.extend(sender.octets());
    words.extend(group.octets());
    words.extend(length.to_be_bytes());
    words.extend([0, ICMP6]);
    words.extend(message);
    let word = |pair: &[u8]| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(u16::from_be_bytes([*high, 0])),
        _ => 0,
    };
    let sum = words.chunks(2).map(word).fold(0, u32::saturating_add);
    let folded = (sum & 0xffff).saturating_add(sum >> 16);
    let folded = (folded & 0xffff).saturating_add(folded >> 16);
    !u16::try_from(folded & 0xffff).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Mac = Mac([2, 0, 0, 0, 0, 1]);

    fn vip() -> Ipv6Addr {
        "2001:db8::29".parse().unwrap()
    }

    #[test]
    fn a_probe_goes_to_the_group_of_the_address_and_claims_nothing() {
        let frame = probe(OURS, vip());
        assert_eq!(frame[..6], [0x33, 0x33, 0xff, 0, 0, 0x29]);
        assert_eq!(frame.len(), 14 + 40 + 24);
        assert_eq!(holder(&frame[54..]), None);
    }

    #[test]
    fn an_announcement_says_who_has_it_under_a_sum_that_is_right() {
        let frame = announcement(OURS, vip());
        let message = &frame[54..];
        assert_eq!(holder(message), Some((vip(), Some(OURS))));
        // Over a message with its sum in place, the sum is zero.
        let length = u16::try_from(message.len()).unwrap();
        assert_eq!(checksum(vip(), ALL_NODES, length, message), 0);
        for cut in 0..24 {
            assert_eq!(holder(&message[..cut]), None, "{cut}");
        }
    }
}
