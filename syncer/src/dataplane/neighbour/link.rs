//! One Ethernet link: its address, a socket that sends frames on it, and sockets that hear answers.

use std::fmt;
use std::io;
use std::os::fd::AsRawFd;

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{LinkAddr, bind};
use socket2::{Domain, Protocol, Socket, Type};

const ETHERNET: u16 = 1;
const ETH_P_ARP: u16 = 0x0806;

/// A link address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Mac(pub(super) [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.0.map(|part| format!("{part:02x}"));
        f.write_str(&parts.join(":"))
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) mac: Mac,
    name: String,
    address: LinkAddr,
    frames: Socket,
}

impl Link {
    /// `None` where there are no neighbours: a loopback, a tunnel.
    pub(super) fn open(name: &str) -> io::Result<Option<Self>> {
        let of_link = getifaddrs()?.find_map(|interface| {
            let address = *interface.address.as_ref()?.as_link_addr()?;
            (interface.interface_name == name).then_some(address)
        });
        let Some((address, mac)) = of_link.and_then(|link| Some((link, link.addr()?))) else {
            return Ok(None);
        };
        if address.hatype() != ETHERNET || mac == [0; 6] {
            return Ok(None);
        }
        // Of no protocol: it only sends.
        let frames = Socket::new(Domain::PACKET, Type::from(RAW), None)?;
        bind(frames.as_raw_fd(), &address)?;
        Ok(Some(Self {
            mac: Mac(mac),
            name: name.to_owned(),
            address,
            frames,
        }))
    }

    pub(super) fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.frames.send(frame).map(drop)
    }

    pub(super) fn listen_arp(&self) -> io::Result<Socket> {
        let protocol = Protocol::from(i32::from(ETH_P_ARP.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::from(RAW), Some(protocol))?;
        bind(socket.as_raw_fd(), &self.address)?;
        Ok(socket)
    }

    pub(super) fn listen_icmp6(&self) -> io::Result<Socket> {
        let socket = Socket::new(Domain::IPV6, Type::from(RAW), Some(Protocol::ICMPV6))?;
        socket.bind_device(Some(self.name.as_bytes()))?;
        Ok(socket)
    }
}

/// `SOCK_RAW`: whole frames.
const RAW: i32 = 3;
