//! Wire messages and services of Nomad's driver plugins, of go-plugin, between our driver and our syncer, and between
//! syncers, generated from `proto/`.
//!
//! For whoever speaks one of these protocols. No logic lives here: `nomad-driver-sdk` turns the messages
//! into values that are hard to misuse.
//!
//! The module tree mirrors the protobuf packages, because service paths and cross references are made of them.

#![allow(
    clippy::pedantic,
    clippy::clone_on_ref_ptr,
    missing_debug_implementations,
    unreachable_pub,
    reason = "generated code"
)]

/// Nomad's own packages.
pub mod hashicorp {
    pub mod nomad {
        pub mod plugins {
            pub mod base {
                pub mod proto {
                    tonic::include_proto!("hashicorp.nomad.plugins.base.proto");
                }
            }
            pub mod drivers {
                pub mod proto {
                    tonic::include_proto!("hashicorp.nomad.plugins.drivers.proto");
                }
            }
            pub mod shared {
                pub mod hclspec {
                    tonic::include_proto!("hashicorp.nomad.plugins.shared.hclspec");
                }
                pub mod structs {
                    tonic::include_proto!("hashicorp.nomad.plugins.shared.structs");
                }
            }
        }
    }
}

/// go-plugin's package.
pub mod plugin {
    tonic::include_proto!("plugin");
}

/// Our own: the driver's hints to the node's syncer.
pub mod syncer {
    tonic::include_proto!("nomad_ipvs.syncer");
}

/// Our own: the same hints from the node's syncer to directors.
pub mod hints {
    tonic::include_proto!("nomad_ipvs.hints");
}

/// Our own: what directors ask of nodes whose instances answer clients themselves.
pub mod real_server {
    tonic::include_proto!("nomad_ipvs.real_server");
}

pub use hashicorp::nomad::plugins::base::proto as base;
pub use hashicorp::nomad::plugins::drivers::proto as driver;
pub use hashicorp::nomad::plugins::shared::{hclspec, structs};
