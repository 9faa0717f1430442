//! Handshakes that are under way, by real server. Netlink counts them among the inactive, with what has ended; only the
//! kernel's list of connections tells them apart (`ip_vs_conn_seq_show`, net/netfilter/ipvs/ip_vs_conn.c).
//!
//! The list has a line for each connection: not for every pass.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

const LIST: &str = "/proc/net/ip_vs_conn";

/// Real servers that were sent a client's first packet and have not had its second. Of the namespace of the calling process; it
/// blocks for as long as the kernel walks its connections.
pub fn handshakes() -> io::Result<BTreeSet<SocketAddr>> {
    std::fs::read_to_string(LIST).map(|list| read(&list))
}

fn read(list: &str) -> BTreeSet<SocketAddr> {
    list.lines().filter_map(half_open).collect()
}

/// Protocol, client, virtual service, real server (each address and port, in hex), state, seconds.
fn half_open(line: &str) -> Option<SocketAddr> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [_, _, _, _, _, address, port, "SYN_RECV", ..] = fields.as_slice() else {
        return None;
    };
    let address = match u32::from_str_radix(address, 16) {
        Ok(four) => IpAddr::V4(Ipv4Addr::from_bits(four)),
        Err(_) => IpAddr::V6(address.parse().ok()?),
    };
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str = "\
Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData
TCP C6120064 9C4C C612001D 0050 C612000B 664D SYN_RECV         59
TCP C6120064 9C4E C612001D 0050 C612000C 664D TIME_WAIT       119
UDP C6120064 9C4E C612001D 0035 C612000C 0035 UDP             300
TCP 2001:0db8:0000:0000:0000:0000:0000:0064 9C4C 2001:0db8:0000:0000:0000:0000:0000:001d 0050 2001:0db8:0000:0000:0000:0000:0000:000b 664D SYN_RECV         3
TCP C6120064
";

    #[test]
    fn only_a_handshake_that_is_under_way_is_one() {
        let expected = ["198.18.0.11:26189", "[2001:db8::b]:26189"];
        let expected = expected.map(|address| address.parse().unwrap());
        assert_eq!(read(LISTED), BTreeSet::from(expected));
    }
}
