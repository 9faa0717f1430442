//! The syncer: keeps Linux IPVS and the Consul catalogue equal to what Nomad and Consul say.
//!
//! ```text
//!  Nomad HTTP ──▶ source::nomad ─┐                     ┌─▶ registrar ──▶ Consul agent (service + check)
//!  Consul HTTP ─▶ source::consul ┼▶ desired ─▶ plan ───┤
//!                                ┘  (pure)    (pure)   └─▶ director  ──▶ sysctl, SNAT, VIP address, IPVS
//!                                      └─ watch<PassState> ──▶ status address, drain barrier
//! ```
//!
//! [`model`], [`tags`], [`desired`], [`guard`] and [`plan`] are pure: no clock, no I/O, no logging, no runtime. Everything
//! else is a thin shell around them. [`reconcile`] is the one loop of a director, [`registrar`] that of a node.

pub mod admin;
pub mod config;
pub mod connections;
pub mod desired;
pub mod director;
pub mod error;
pub mod files;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod guard;
pub mod hints;
pub mod lock;
pub mod model;
pub mod parts;
pub mod plan;
pub mod reconcile;
pub mod registrar;
pub mod source;
pub mod status;
pub mod store;
pub mod tags;
pub mod terminal;
pub mod warm;
