//! What can be asked of the kernel's table, as data.

use std::fmt;
use std::net::SocketAddr;

use super::{RealServer, ServiceId, ServiceSettings};

/// One change. Removing a virtual service removes its real servers with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    AddService(ServiceId, ServiceSettings),
    EditService(ServiceId, ServiceSettings),
    RemoveService(ServiceId),
    AddReal(ServiceId, RealServer),
    /// Everything but the address may change; connections stay.
    EditReal(ServiceId, RealServer),
    RemoveReal(ServiceId, SocketAddr),
}

impl Command {
    /// The virtual service that it is about.
    pub fn service(&self) -> &ServiceId {
        match self {
            Self::AddService(id, _)
            | Self::EditService(id, _)
            | Self::RemoveService(id)
            | Self::AddReal(id, _)
            | Self::EditReal(id, _)
            | Self::RemoveReal(id, _) => id,
        }
    }

    /// Whether it is about the virtual service itself rather than one of its real servers.
    pub fn is_about_service(&self) -> bool {
        matches!(
            self,
            Self::AddService(..) | Self::EditService(..) | Self::RemoveService(_)
        )
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddService(id, with) => write!(f, "add {id} {}", with.scheduler),
            Self::EditService(id, with) => write!(f, "edit {id} {}", with.scheduler),
            Self::RemoveService(id) => write!(f, "remove {id}"),
            Self::AddReal(id, real) => {
                write!(f, "add {id} -> {} weight {}", real.address, real.weight)
            }
            Self::EditReal(id, real) => {
                write!(f, "edit {id} -> {} weight {}", real.address, real.weight)
            }
            Self::RemoveReal(id, address) => write!(f, "remove {id} -> {address}"),
        }
    }
}
