//! Linux IPVS: its vocabulary, its generic netlink wire format and a client.
//!
//! [`model`] says what a virtual service and a real server are, and holds tables of them. [`wire`] turns
//! [`Command`]s into netlink messages and replies back into the model; it does no I/O. [`Client`] owns one socket of
//! the network namespace it was opened in. [`Kernel`] is what the client and the in-memory table
//! (`fake`, feature `testing`) have in common, and `conformance` is the suite that both of them pass.
//!
//! This crate knows nothing of where real servers come from. Numbers and names are those of
//! `include/uapi/linux/ip_vs.h`; the kernel calls a real server *destination*.

#[cfg(feature = "netlink")]
mod client;
#[cfg(feature = "testing")]
pub mod conformance;
mod dump;
pub mod errno;
mod error;
#[cfg(feature = "testing")]
pub mod fake;
mod kernel;
pub mod model;
#[cfg(feature = "netlink")]
pub mod socket;
pub mod wire;

#[cfg(feature = "netlink")]
pub use client::Client;
pub use dump::{Dump, Unreadable};
pub use error::{Error, KernelRefusal};
pub use kernel::{Kernel, Live};
pub use model::{
    Command, Connections, Family, Forwarding, Persistence, Protocol, RealServer, Scheduler,
    ServiceFlags, ServiceId, ServiceSettings, Table, Thresholds, Tunnel, VirtualService, Weight,
};
