//! Addresses that leave this machine: the kernel says so at once, to whoever listens on its route netlink.
//!
//! Not for what comes: an address that somebody adds is seen by the next reading.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::libc;
use tokio::io::unix::AsyncFd;
use tracing::warn;

use super::AddressError;
use super::message;
use crate::dataplane::netlink::{self, Body};

/// Room for one datagram: news are a message or a few.
const BUFFER: usize = 16 * 1024;

/// A socket that hears of them.
#[derive(Debug)]
pub struct Departures {
    /// `None`: it broke, and audits have to do.
    socket: Option<AsyncFd<Socket>>,
}

impl Departures {
    /// Listens in the calling thread's network namespace, within a runtime.
    pub fn open() -> Result<Self, AddressError> {
        let failed = |operation| move |source| AddressError::Socket { operation, source };
        let mut socket = Socket::new(NETLINK_ROUTE).map_err(failed("open a socket"))?;
        let groups = libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;
        socket
            .bind(&SocketAddr::new(0, groups.unsigned_abs()))
            .map_err(failed("listen to the kernel"))?;
        socket
            .set_non_blocking(true)
            .map_err(failed("listen without waiting"))?;
        #[expect(
            deprecated,
            reason = "the socket owns its descriptor, which is all that the other way asks for in unsafe code"
        )]
        let socket = AsyncFd::new(socket).map_err(failed("wait for the kernel"))?;
        Ok(Self {
            socket: Some(socket),
        })
    }

    /// Waits until one of these leaves, or may have left for all that is known. Cancel-safe.
    pub async fn of(&mut self, addresses: &BTreeSet<IpAddr>) {
        while let Some(socket) = &self.socket {
            let answer = match socket.readable().await {
                Ok(mut ready) => ready.try_io(|socket| receive(socket.get_ref())),
                Err(error) => Ok(Err(error)),
            };
            match answer {
                Ok(Ok(news)) if departed(&news).any(|address| addresses.contains(&address)) => {
                    return;
                }
                // More than the socket could hold.
                Ok(Err(error)) if error.raw_os_error() == Some(libc::ENOBUFS) => return,
                Ok(Err(error)) => {
                    warn!(%error, "nobody says any more when an address leaves; audits find it");
                    self.socket = None;
                }
                Ok(Ok(_)) | Err(_) => {}
            }
        }
        std::future::pending::<()>().await;
    }
}

fn receive(socket: &Socket) -> io::Result<Vec<u8>> {
    let mut buffer = Vec::with_capacity(BUFFER);
    loop {
        buffer.clear();
        match socket.recv(&mut buffer, 0) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(_) => return Ok(buffer),
            Err(error) => return Err(error),
        }
    }
}

fn departed(news: &[u8]) -> impl Iterator<Item = IpAddr> {
    netlink::replies(news).filter_map(|reply| {
        let reply = reply.ok()?;
        match reply.body {
            Body::Data(body) if reply.kind == libc::RTM_DELADDR => {
                Some(message::address_entry(body).ok()??.address)
            }
            Body::Data(_) | Body::Acknowledged(_) | Body::EndOfDump(_) => None,
        }
    })
}
