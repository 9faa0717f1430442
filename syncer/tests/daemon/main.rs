//! The daemon's parts together, without root: real HTTP sources against an in-process Nomad and Consul, the real loop,
//! and a kernel table in memory. Each bad day is a test with its expected table.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod bad_days;
mod counting;
mod data_plane;
mod fake;
mod following;
mod harness;
mod kernel;
mod ready;
mod real;
mod refused;
mod registering;
mod reloading;
mod restarts;
mod sources;
mod vips;
