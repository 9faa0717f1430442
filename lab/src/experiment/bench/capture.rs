//! What passes through a kernel, with the kernel's own times: answers from Consul, and netlink's acknowledgements.
//!
//! One packet socket sees the network's packets and, by a device of the kind `nlmon`, every netlink message. The kernel
//! stamps each when it passes; when it is read doesn't matter. So watching doesn't hold up who is watched, which on a
//! guest's only processor a busy reader does.

use std::io::IoSliceMut;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType,
    recvmsg, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

use crate::host::command;

const DEVICE: &str = "nlmon-lab";

/// The port that Consul answers on.
const CONSUL: u16 = 8500;

/// How long one look waits.
const POLL_TIMEOUT: i64 = 200;

/// Something that passed, and when, on the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// A piece of an answer of Consul's arrived.
    Answered(Duration),
    /// The kernel told a process that its netlink request is done.
    Acknowledged(Duration),
    /// A [`Mark`] of the machine's arrived.
    Marked(Mark, Duration),
}

/// What the machine says right before it does something to a real server, as a UDP datagram: who, and its own time. Also
/// tells how far the two clocks are apart: the quickest of many was under way for next to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) real: SocketAddrV4,
    /// On the sender's wall clock.
    pub(super) sent: Duration,
}

impl Mark {
    /// Where marks are sent; nobody has to listen.
    pub(super) const PORT: u16 = 9;

    const MAGIC: [u8; 4] = *b"mark";

    pub(super) fn datagram(&self) -> Vec<u8> {
        let mut bytes = Self::MAGIC.to_vec();
        bytes.extend(self.real.ip().octets());
        bytes.extend(self.real.port().to_be_bytes());
        bytes.extend(self.sent.as_nanos().to_be_bytes());
        bytes
    }

    /// From an IPv4 packet.
    fn read(packet: &[u8]) -> Option<Self> {
        let Some(TransportSlice::Udp(datagram)) = LaxSlicedPacket::from_ip(packet).ok()?.transport
        else {
            return None;
        };
        let rest = datagram.payload().strip_prefix(&Self::MAGIC)?;
        let (address, rest) = rest.split_first_chunk::<4>()?;
        let (port, rest) = rest.split_first_chunk()?;
        let (port, nanos) = (
            u16::from_be_bytes(*port),
            u128::from_be_bytes(*rest.first_chunk()?),
        );
        Some(Self {
            real: SocketAddrV4::new((*address).into(), port),
            sent: Duration::from_nanos(u64::try_from(nanos).ok()?),
        })
    }
}

#[derive(Debug)]
pub(super) struct Capture {
    socket: OwnedFd,
    consul: Ipv4Addr,
}

impl Capture {
    /// In the calling thread's network namespace.
    pub(super) fn open(consul: Ipv4Addr) -> Result<Self> {
        // Left by an earlier watcher that was killed, it does as well.
        let _ = command::run("ip", &["link", "add", DEVICE, "type", "nlmon"]);
        command::run("ip", &["link", "set", DEVICE, "up"])?;
        let socket = socket(
            AddressFamily::Packet,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::EthAll,
        )
        .context("open a packet socket")?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true).context("ask for times")?;
        setsockopt(&socket, sockopt::RcvBufForce, &(8 << 20)).context("enlarge the buffer")?;
        setsockopt(
            &socket,
            sockopt::ReceiveTimeout,
            &TimeVal::milliseconds(POLL_TIMEOUT),
        )
        .context("set a time-out")?;
        Ok(Self { socket, consul })
    }

    /// The next event; `None` when nothing of interest passed for a while.
    pub(super) fn next(&self) -> Result<Option<Event>> {
        let mut bytes = [0; 4096];
        let mut control = nix::cmsg_space!(nix::sys::time::TimeSpec);
        loop {
            let mut pieces = [IoSliceMut::new(&mut bytes)];
            let received = recvmsg::<LinkAddr>(
                self.socket.as_raw_fd(),
                &mut pieces,
                Some(&mut control),
                MsgFlags::empty(),
            );
            let message = match received {
                Ok(message) => message,
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error).context("read a packet"),
            };
            let stamp = message.cmsgs().ok().and_then(|mut all| {
                all.find_map(|option| match option {
                    ControlMessageOwned::ScmTimestampns(at) => Some(Duration::from(at)),
                    _ => None,
                })
            });
            let (Some(at), Some(from)) = (stamp, message.address) else {
                bail!("the kernel gave a packet without a time or an origin");
            };
            let protocol = u16::from_be(from.protocol());
            let packet = message.iovs().next().unwrap_or_default();
            match i32::from(protocol) {
                nix::libc::ETH_P_IP if is_answer(packet, self.consul) => {
                    return Ok(Some(Event::Answered(at)));
                }
                nix::libc::ETH_P_IP => {
                    if let Some(mark) = Mark::read(packet) {
                        return Ok(Some(Event::Marked(mark, at)));
                    }
                }
                nix::libc::NETLINK_GENERIC if is_acknowledgement(packet) => {
                    return Ok(Some(Event::Acknowledged(at)));
                }
                _ => {}
            }
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = command::run("ip", &["link", "delete", DEVICE]);
    }
}

/// The guest has one processor: the watcher runs when nobody else wants to.
pub(super) fn give_way() -> Result<()> {
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle)
        .map_err(|error| anyhow!("let the watcher give way: {error}"))
}

/// A TCP segment of Consul's that carries something.
fn is_answer(packet: &[u8], consul: Ipv4Addr) -> bool {
    // Lax: a segment may be longer than what is read of it.
    let Ok(packet) = LaxSlicedPacket::from_ip(packet) else {
        return false;
    };
    match (&packet.net, &packet.transport) {
        (Some(LaxNetSlice::Ipv4(ip)), Some(TransportSlice::Tcp(segment))) => {
            ip.header().source_addr() == consul
                && segment.source_port() == CONSUL
                && !segment.payload().is_empty()
        }
        _ => false,
    }
}

/// `NLMSG_ERROR` with the error 0.
fn is_acknowledgement(message: &[u8]) -> bool {
    const NLMSG_ERROR: [u8; 2] = 2_u16.to_ne_bytes();
    message.get(4..6) == Some(&NLMSG_ERROR) && message.get(16..20) == Some(&[0; 4])
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    const CONSUL_AT: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 11);

    /// An IPv4 packet with a TCP segment from Consul that carries so many bytes.
    fn segment(carried: usize) -> Vec<u8> {
        let builder = PacketBuilder::ipv4(CONSUL_AT.octets(), [198, 18, 0, 28], 64);
        let mut packet = Vec::new();
        let segment = builder.tcp(CONSUL, 40_000, 1, 1000).ack(1);
        segment.write(&mut packet, &vec![b'x'; carried]).unwrap();
        packet
    }

    #[test]
    fn only_segments_of_consuls_that_carry_something_are_answers() {
        assert!(is_answer(&segment(9), CONSUL_AT));
        assert!(!is_answer(&segment(0), CONSUL_AT));
        assert!(!is_answer(&segment(9), Ipv4Addr::LOCALHOST));
        for length in 0..40 {
            assert!(!is_answer(&segment(0)[..length], CONSUL_AT));
        }
    }

    #[test]
    fn a_mark_is_read_as_it_was_sent_and_nothing_else_is_one() {
        let mark = Mark {
            real: "198.18.0.11:20000".parse().unwrap(),
            sent: Duration::from_nanos(1_700_000_000_123_456_789),
        };
        let builder = PacketBuilder::ipv4([198, 18, 0, 1], [198, 18, 0, 28], 64);
        let mut packet = Vec::new();
        let datagram = builder.udp(50_000, Mark::PORT);
        datagram.write(&mut packet, &mark.datagram()).unwrap();
        assert_eq!(Mark::read(&packet), Some(mark));
        for length in 0..packet.len() {
            assert_eq!(Mark::read(&packet[..length]), None);
        }
        packet[28] = b'M';
        assert_eq!(Mark::read(&packet), None);
    }

    #[test]
    fn a_refusal_is_no_acknowledgement() {
        let mut message = vec![0; 36];
        message[4] = 2;
        assert!(is_acknowledgement(&message));
        message[16..20].copy_from_slice(&(-3_i32).to_ne_bytes());
        assert!(!is_acknowledgement(&message));
        assert!(!is_acknowledgement(&message[..10]));
    }
}
