//! The words of IPVS as types in which wrong states can't be built.
//!
//! Identity is kept apart from what can change: a [`ServiceId`] names a virtual service, [`ServiceSettings`] are what
//! an edit may change; the address names a [`RealServer`] within its service. [`Connections`] are counts that the
//! kernel keeps; they stand beside a table, never inside, so that they take no part in comparisons.

mod command;
mod real;
mod scheduler;
mod service;
mod table;

pub use command::Command;
pub use real::{Connections, Forwarding, RealServer, Thresholds, Tunnel, Weight};
pub use scheduler::{Scheduler, UnusableScheduler};
pub use service::{
    Family, Persistence, Protocol, ServiceFlags, ServiceId, ServiceSettings, UnusableAddress,
};
pub use table::{Table, VirtualService};
