//! Hints on their way: from the node's drivers over a unix socket to every director over one stream each.
//!
//! ```text
//! driver ──gRPC/unix──▶ relay ─▶ link ══one gRPC stream, mTLS══▶ director's listener ─▶ Barrier ─▶ source::driver::Board ─▶ pass
//!                         (one link a director)
//! ```
//!
//! A withdrawal is answered when the director sends the task nothing any more: that is the drain barrier. The streams are
//! kept open, so that a hint is on its way at once, and answers come as they are known. Not for truth: what is lost here
//! costs time, since directors read Nomad and Consul all the same.

mod barrier;
mod caller;
mod guest;
mod link;
mod listener;
mod prompt;
mod rate;
mod relay;
mod socket;
mod takers;
mod wire;

use std::time::Duration;

pub use barrier::{Barrier, HintRefusal, Outcome};
pub use listener::{ListenError, Listener, listen};
pub use relay::serve;
pub use socket::SocketError;

/// The longest time that a withdrawal may have, whatever it asks for.
const WITHDRAWAL_LIMIT: Duration = Duration::from_hours(1);

#[cfg(test)]
mod tests;
