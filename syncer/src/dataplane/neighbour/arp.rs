//! ARP frames: a probe, an announcement, and who answers. Pure.

use std::net::Ipv4Addr;

use super::Mac;

const EVERYBODY: Mac = Mac([0xff; 6]);
const ARP: [u8; 2] = [0x08, 0x06];
/// Ethernet and IPv4, with addresses of 6 and of 4 bytes.
const KINDS: [u8; 6] = [0, 1, 8, 0, 6, 4];
const REQUEST: [u8; 2] = [0, 1];
const REPLY: [u8; 2] = [0, 2];
/// An Ethernet frame without its checksum is at least so long.
const SHORTEST: usize = 60;

/// Asks who has the address. The sender is unspecified: an answer must not depend on it, and nobody shall learn from it.
pub(super) fn probe(from: Mac, vip: Ipv4Addr) -> Vec<u8> {
    frame(from, REQUEST, Ipv4Addr::UNSPECIFIED, Mac([0; 6]), vip)
}

/// It is here, as a request and as a reply: some take only the one, some only the other.
pub(super) fn announcements(from: Mac, vip: Ipv4Addr) -> [Vec<u8>; 2] {
    [
        frame(from, REQUEST, vip, Mac([0; 6]), vip),
        frame(from, REPLY, vip, EVERYBODY, vip),
    ]
}

fn frame(from: Mac, operation: [u8; 2], sender: Ipv4Addr, to: Mac, target: Ipv4Addr) -> Vec<u8> {
    let mut frame = Vec::with_capacity(SHORTEST);
    frame.extend(EVERYBODY.0);
    frame.extend(from.0);
    frame.extend(ARP);
    frame.extend(KINDS);
    frame.extend(operation);
    frame.extend(from.0);
    frame.extend(sender.octets());
    frame.extend(to.0);
    frame.extend(target.octets());
    frame.resize(SHORTEST, 0);
    frame
}

/// Whoever says in this frame that it has an address.
pub(super) fn holder(frame: &[u8]) -> Option<(Ipv4Addr, Mac)> {
    let packet = frame.get(12..)?.strip_prefix(&ARP)?;
    let (_operation, rest) = packet.strip_prefix(&KINDS)?.split_first_chunk::<2>()?;
    let (mac, rest) = rest.split_first_chunk::<6>()?;
    let sender = Ipv4Addr::from(*rest.first_chunk::<4>()?);
    (!sender.is_unspecified()).then_some((sender, Mac(*mac)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIP: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 29);
    const OURS: Mac = Mac([2, 0, 0, 0, 0, 1]);

    #[test]
    fn a_probe_claims_nothing_and_an_announcement_does() {
        assert_eq!(holder(&probe(OURS, VIP)), None);
        for frame in announcements(OURS, VIP) {
            assert_eq!(holder(&frame), Some((VIP, OURS)));
            assert_eq!(frame.len(), SHORTEST);
        }
    }

    #[test]
    fn what_is_cut_off_or_something_else_names_nobody() {
        let whole = announcements(OURS, VIP)[1].clone();
        for length in 0..32 {
            assert_eq!(holder(&whole[..length]), None, "{length}");
        }
        let mut other = whole;
        other[12] = 0x86;
        assert_eq!(holder(&other), None);
    }
}
