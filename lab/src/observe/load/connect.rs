//! Connections whose local ports come in turn, so that none meets what is remembered of another.
//!
//! A kernel on the way remembers a connection that was lost: IPVS keeps a SYN that nobody answered for a minute, with the
//! real server that it chose and with what was in force then (a connection that began while `conntrack` was off is never
//! translated). A client that takes the port again is sent the same way again. Left to chance, the kernel takes one again
//! within that minute now and then, and a request fails long after all is well.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// As many as there are above those that servers of the lab listen on: at two hundred a second one comes again after more
/// than four minutes.
const FIRST: u16 = 10_000;
const COUNT: u16 = u16::MAX - FIRST + 1;

/// Ports in a row that somebody else may hold.
const ATTEMPTS: usize = 64;

/// Connects from the next port.
pub(super) fn connect(target: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let mut error = ErrorKind::AddrInUse.into();
    for _ in 0..ATTEMPTS {
        match connect_from(PORTS.next(), target, timeout) {
            Ok(stream) => return Ok(stream),
            // Another process has it, or an earlier connection to the same target waits in its end.
            Err(taken)
                if matches!(
                    taken.kind(),
                    ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable
                ) =>
            {
                error = taken;
            }
            Err(other) => return Err(other),
        }
    }
    Err(error)
}

fn connect_from(port: u16, target: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let any = match target {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = Socket::new(
        Domain::for_address(target),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::new(any, port).into())?;
    socket.connect_timeout(&target.into(), timeout)?;
    Ok(socket.into())
}

/// Of all streams of this process. The first is left to chance, for the process before this one may have ended just now.
static PORTS: LazyLock<Ports> = LazyLock::new(|| Ports(AtomicU16::new(fastrand::u16(..COUNT))));

/// Ports in turn.
struct Ports(AtomicU16);

impl Ports {
    fn next(&self) -> u16 {
        let turn = |turn: u16| Some((turn + 1) % COUNT);
        let turn = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, turn)
            .unwrap_or_else(|turn| turn);
        FIRST + turn
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_port_comes_again_only_when_all_others_have_been_taken() {
        let ports = Ports(AtomicU16::new(COUNT - 7));
        let mut taken: Vec<u16> = (0..COUNT).map(|_| ports.next()).collect();
        assert_eq!(taken.first(), Some(&ports.next()));
        taken.sort_unstable();
        assert!(taken.into_iter().eq(FIRST..=u16::MAX));
    }

    #[test]
    fn connections_one_after_the_other_come_from_different_ports() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        let timeout = Duration::from_secs(5);
        let ports = [(); 20].map(|()| {
            let stream = connect(target, timeout).unwrap();
            stream.local_addr().unwrap().port()
        });
        let mut different = ports.to_vec();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), ports.len(), "{ports:?}");
    }
}
