//! Who answers for an address on a link: all that do, not only the first. By a capture of what passes while the address is asked for.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use etherparse::{ArpOperation, ArpPacketSlice};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::host::{command, netns};

/// How often the address is asked for anew.
const ROUNDS: u32 = 3;

/// The discard port: that a datagram goes there has the kernel ask for the address.
const DISCARD: u16 = 9;

/// Link addresses of everybody who answers for `address` in that namespace, each round within `wait`.
pub fn holders(namespace: &str, address: Ipv4Addr, wait: Duration) -> Result<BTreeSet<String>> {
    netns::within(namespace, || -> Result<_> {
        // Of the kind `Datagram` the kernel takes the link's header off.
        let (kind, flags) = (SockType::Datagram, SockFlag::SOCK_CLOEXEC);
        let socket = socket(AddressFamily::Packet, kind, flags, SockProtocol::EthAll)
            .context("open a packet socket")?;
        let timeout = TimeVal::milliseconds(100);
        setsockopt(&socket, sockopt::ReceiveTimeout, &timeout).context("set a time-out")?;
        let mut holders = BTreeSet::new();
        for _ in 0..ROUNDS {
            // Nobody asks for what is known already.
            command::run("ip", &["neigh", "flush", "to", &address.to_string()])?;
            let asking = UdpSocket::bind("0.0.0.0:0")?;
            asking.send_to(&[0], (address, DISCARD))?;
            let until = Instant::now() + wait;
            let mut packet = [0; 2048];
            while Instant::now() < until {
                match recv(socket.as_raw_fd(), &mut packet, MsgFlags::empty()) {
                    Ok(length) => holders.extend(holder(&packet[..length], address)),
                    Err(Errno::EAGAIN | Errno::EINTR) => {}
                    Err(error) => return Err(error).context("read a packet"),
                }
            }
        }
        Ok(holders)
    })?
}

/// Who says in this ARP packet that it has the address, as `02:00:00:00:00:01`.
fn holder(packet: &[u8], address: Ipv4Addr) -> Option<String> {
    let packet = ArpPacketSlice::from_slice(packet).ok()?;
    let is_reply = packet.operation() == ArpOperation::REPLY;
    if !is_reply || packet.sender_protocol_addr() != address.octets() {
        return None;
    }
    let bytes = packet.sender_hw_addr().iter();
    let words: Vec<String> = bytes.map(|byte| format!("{byte:02x}")).collect();
    Some(words.join(":"))
}

#[cfg(test)]
mod tests {
    use etherparse::{ArpHardwareId, ArpPacket, EtherType};

    use super::*;

    fn packet(operation: ArpOperation, sender: [u8; 4]) -> Vec<u8> {
        let (hardware, protocol) = (ArpHardwareId::ETHERNET, EtherType::IPV4);
        let mac = [2, 0, 0, 0, 0, 0x1f];
        let target = [198, 18, 0, 100];
        let packet = ArpPacket::new(
            hardware, protocol, operation, &mac, &sender, &[0; 6], &target,
        );
        packet.unwrap().to_bytes().to_vec()
    }

    #[test]
    fn whoever_replies_for_the_address_is_its_holder_and_whoever_asks_is_not() {
        let vip = Ipv4Addr::new(198, 18, 0, 29);
        let of = |operation, sender| holder(&packet(operation, sender), vip);
        let reply = of(ArpOperation::REPLY, vip.octets());
        assert_eq!(reply.as_deref(), Some("02:00:00:00:00:1f"));
        assert_eq!(of(ArpOperation::REPLY, [198, 18, 0, 30]), None);
        assert_eq!(of(ArpOperation::REQUEST, vip.octets()), None);
        assert_eq!(holder(&[0x45; 40], vip), None);
    }
}
