//! Our words in the stream's messages, and back.

use std::time::Duration;

use nomad_ipvs_proto::hints::Outcome as Wire;
use nomad_ipvs_proto::hints::hint::Kind;

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

/// Reads a deadline that somebody else wrote; without one it is zero, and there is a longest one.
pub(super) fn limit(deadline: Option<prost_types::Duration>) -> Duration {
    deadline
        .and_then(|deadline| Duration::try_from(deadline).ok())
        .unwrap_or_default()
        .min(WITHDRAWAL_LIMIT)
}
