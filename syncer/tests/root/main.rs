//! What a director does to a machine, done as root to network namespaces of the tests' own. No IPVS is needed.
//!
//! `cargo lab test` runs them; by hand, as root: `cargo test -p ipvs-syncer --test root -- --ignored`.

#![expect(clippy::unwrap_used, reason = "a test may")]

mod address;
mod flow;
mod forwarding;
mod lock;
mod namespace;
mod neighbour;
mod nftables;
#[path = "../trip/mod.rs"]
mod trip;
