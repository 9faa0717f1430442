//! The fabric's addresses in IPv6: a /64 of the profile's own beside its IPv4 subnet, hosts written alike in both.

use std::net::{Ipv6Addr, SocketAddrV6};

use ipnet::Ipv6Net;

use super::Node;

/// A unique local prefix whose forty bits, which are each network's own, spell "nomad".
const PREFIX: [u16; 3] = [0xfd6e, 0x6f6d, 0x6164];

/// The machine's last group, as its last octet.
const MACHINE: u8 = 1;

/// One profile's /64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Six {
    subnet: u8,
}

impl Six {
    pub(super) fn of(subnet: u8) -> Self {
        Self { subnet }
    }

    fn address(self, range: u16, host: u16) -> Ipv6Addr {
        let [a, b, c] = PREFIX;
        Ipv6Addr::new(a, b, c, self.subnet.into(), 0, 0, range, host)
    }

    pub fn network(self) -> Ipv6Net {
        Ipv6Net::new_assert(self.address(0, 0), 64)
    }

    /// The machine's own address on the fabric.
    pub fn machine(self) -> Ipv6Addr {
        self.address(0, alike(MACHINE))
    }

    pub fn node(self, node: Node) -> Ipv6Addr {
        self.address(0, alike(node.host()))
    }

    /// Where VIPs may be: nobody of the lab has an address there.
    pub fn vips(self) -> Ipv6Net {
        Ipv6Net::new_assert(self.address(1, 0), 112)
    }

    /// One for pages.
    pub fn vip(self) -> SocketAddrV6 {
        SocketAddrV6::new(self.address(1, alike(29)), 80, 0, 0)
    }

    /// One for datagrams.
    pub fn echo_vip(self) -> SocketAddrV6 {
        SocketAddrV6::new(self.address(1, alike(33)), 7, 0, 0)
    }
}

/// The group that is written as the octet is.
fn alike(octet: u8) -> u16 {
    let octet = u16::from(octet);
    octet / 100 * 0x100 + octet / 10 % 10 * 0x10 + octet % 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_written_alike_in_both_families() {
        let six = Six::of(0);
        let of = |node| six.node(node).to_string();
        assert_eq!(of(Node::Node1), "fd6e:6f6d:6164::11");
        assert_eq!(of(Node::Client), "fd6e:6f6d:6164::100");
        assert_eq!(six.vip().to_string(), "[fd6e:6f6d:6164::1:29]:80");
    }

    #[test]
    fn two_profiles_share_no_address() {
        let [one, other] = [0, 255].map(|subnet| Six::of(subnet).network());
        assert!(!one.contains(&other) && !other.contains(&one));
    }
}
