//! Links and listeners on real sockets with real certificates.

mod certificates;
pub(super) mod harness;
mod refusing;
mod streaming;
mod takers;
