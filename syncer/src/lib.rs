//! The syncer: keeps Linux IPVS and the Consul catalogue equal to what Nomad and Consul say.
//!
//! ```text
//!  Nomad HTTP ──▶ source::nomad ─┐                     ┌─▶ registrar ──▶ Consul agent (service + check)
//!  Consul HTTP ─▶ source::consul ┼▶ desired ─▶ plan ───┤
//!                                ┘  (pure)    (pure)   └─▶ dataplane ──▶ sysctl, SNAT, VIP address, IPVS
//!                                      └─ watch<PassState> ──▶ status address, drain barrier
//! ```
//!
//! What is decided is decided in [`syncer_core`], which can't do I/O; everything here is a thin shell around it.
//! [`reconcile`] is the one loop of a director, [`registrar`] that of a node.

pub mod admin;
pub mod backoff;
pub mod channel;
pub mod command;
pub mod config;
pub mod connections;
pub mod credential;
pub mod dataplane;
pub mod error;
pub mod files;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod hints;
pub mod http;
pub mod lock;
pub mod offer;
pub mod parts;
pub mod rate;
pub mod real_server;
pub mod reconcile;
pub mod registrar;
pub mod source;
pub mod status;
pub mod store;
pub mod terminal;
pub mod warm;
