//! How the lab talks to Nomad, Consul, the engines and the syncers: over HTTP with the lab's own tokens, or by the parts' own
//! programs.

pub mod api;
pub mod consul;
pub mod docker;
mod document;
pub mod env;
pub mod http;
pub mod nomad;
pub mod syncer;
