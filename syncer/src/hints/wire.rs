//! Our words in the stream's messages, and back.

use std::net::SocketAddr;
use std::time::Duration;

use nomad_ipvs_proto::hints::Outcome as Wire;
use nomad_ipvs_proto::hints::hint::Kind;
use nomad_ipvs_proto::syncer::Port;

use super::{Outcome, WITHDRAWAL_LIMIT};
use crate::source::driver::Hint;

pub(super) fn kind(hint: Hint) -> Kind {
    match hint {
        Hint::Running => Kind::Running,
        Hint::Withdrawn => Kind::Withdrawn,
        Hint::Exited => Kind::Exited,
    }
}

/// Reads a kind of hint; `None`: this version does not know it.
pub(super) fn hint(kind: Kind) -> Option<Hint> {
    match kind {
        Kind::Unspecified => None,
        Kind::Running => Some(Hint::Running),
        Kind::Withdrawn => Some(Hint::Withdrawn),
        Kind::Exited => Some(Hint::Exited),
    }
}

pub(super) fn wire(outcome: Outcome) -> Wire {
    match outcome {
        Outcome::Noted => Wire::Noted,
        Outcome::Absent => Wire::Absent,
        Outcome::Drained => Wire::Drained,
        Outcome::TimedOut => Wire::TimedOut,
    }
}

/// Reads an outcome; `None`: this version does not know it.
pub(super) fn outcome(wire: Wire) -> Option<Outcome> {
    match wire {
        Wire::Unknown => None,
        Wire::Noted => Some(Outcome::Noted),
        Wire::Absent => Some(Outcome::Absent),
        Wire::Drained => Some(Outcome::Drained),
        Wire::TimedOut => Some(Outcome::TimedOut),
    }
}

/// Reads a port's two places, on the host and in the container; `None` where the container has none of its own.
pub(super) fn places(port: &Port) -> Option<(SocketAddr, SocketAddr)> {
    let place = |ip: &str, port: u32| {
        let port = u16::try_from(port).ok().filter(|port| *port > 0)?;
        Some(SocketAddr::new(ip.parse().ok()?, port))
    };
    let host = place(&port.host_ip, port.host_port)?;
    let own = place(&port.container_ip, port.container_port)?;
    (host.is_ipv4() == own.is_ipv4()).then_some((host, own))
}

/// Reads a deadline that somebody else wrote; without one it is zero, and there is a longest one.
pub(super) fn limit(deadline: Option<prost_types::Duration>) -> Duration {
    deadline
        .and_then(|deadline| Duration::try_from(deadline).ok())
        .unwrap_or_default()
        .min(WITHDRAWAL_LIMIT)
}
