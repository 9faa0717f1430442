//! A Nomad task driver as one trait: implement [`TaskDriver`], call [`serve()`], and the process speaks go-plugin's
//! handshake and Nomad's driver protocol on a unix socket.
//!
//! ```text
//!  agent ──exec──▶ handshake ──▶ serve ──▶ goplugin   Controller, Stdio, Broker, Health
//!                                   ├────▶ base       PluginInfo, ConfigSchema, SetConfig
//!                                   └────▶ service    Driver: messages in, values of this crate out ──▶ TaskDriver
//! ```
//!
//! What the agent would panic on (sub-messages it reads without looking) can't be left out of the answer types here.
//! Not for running anything: this crate knows nothing of containers.

#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss
    )
)]

mod base;
pub mod cty;
pub mod driver;
pub mod error;
mod goplugin;
pub mod handshake;
pub mod hclog;
pub mod hclspec;
pub mod options;
pub mod serve;
mod service;
mod socket;
pub mod value;

pub use base::Identity;
pub use driver::TaskDriver;
pub use error::DriverError;
pub use handshake::Handshake;
pub use serve::serve;

/// Messages that travel through a driver unchanged: what the agent sends with a task, and the handle it keeps.
pub use nomad_ipvs_proto::base::{ClientTopology, ClientTopologyCore, NomadDriverConfig};
pub use nomad_ipvs_proto::driver::{
    AllocatedMemoryResources, DnsConfig, LinuxResources, PortMapping, TaskConfig, TaskHandle,
};
