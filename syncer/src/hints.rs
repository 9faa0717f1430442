//! Hints on their way: from the node's drivers over a unix socket to every director over HTTP.
//!
//! ```text
//! driver ──gRPC/unix──▶ relay ──PUT /v1/hint, token──▶ director's admin ──▶ source::driver::Board ──▶ pass
//! ```
//!
//! A withdrawal is answered when the director sends the task nothing any more: that is the drain barrier. The way to a
//! director is plain HTTP with a shared token: for a network that is trusted, or through a tunnel.

mod barrier;
mod relay;

use serde::{Deserialize, Serialize};

pub use barrier::{Barrier, Outcome};
pub use relay::{RelayError, serve};

use crate::source::driver::Hint;

/// The header that carries the shared token.
pub const TOKEN_HEADER: &str = "X-Ipvs-Syncer-Token";

/// One hint as a director is told it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Told {
    pub alloc: String,
    pub task: String,
    pub hint: Hint,
    /// Withdrawals: how long the director may wait.
    #[serde(default)]
    pub deadline_ms: u64,
}

/// What a director answers.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Answer {
    pub outcome: Outcome,
}
