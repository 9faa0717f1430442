//! How the lab talks to Nomad, Consul and the syncers: over HTTP with the lab's own tokens, or by the agents' own programs.

pub mod api;
mod consul;
pub mod env;
pub mod http;
pub mod nomad;
