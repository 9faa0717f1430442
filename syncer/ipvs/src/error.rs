//! What can go wrong between us and the kernel. Each error keeps the operation, because errnos alone are ambiguous
//! here: ENOENT is "no such scheduler" for a service and "no such real server" for a real server.

use std::io;

use crate::errno;
use crate::model::Command;

/// The conversation with the kernel failed as a whole.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("netlink: {operation}")]
    Socket {
        operation: &'static str,
        source: io::Error,
    },
    #[error(
        "this kernel has no IPVS here: the generic netlink family IPVS is missing (load the module ip_vs: `modprobe ip_vs`, or use a kernel built with CONFIG_IP_VS)"
    )]
    FamilyMissing,
    #[error("{operation}: not permitted; CAP_NET_ADMIN in the initial user namespace is needed")]
    NotPermitted { operation: &'static str },
    #[error("{operation}: the kernel answered {} (errno {errno})", io::Error::from_raw_os_error(*errno))]
    Kernel { operation: &'static str, errno: i32 },
    #[error("{operation}: the receive buffer overran, answers are lost; read the table again")]
    Overrun { operation: &'static str },
    #[error("{operation}: an answer that cannot be read")]
    Malformed {
        operation: &'static str,
        source: crate::wire::Malformed,
    },
}

#[cfg(feature = "netlink")]
impl From<crate::socket::SocketError> for Error {
    fn from(error: crate::socket::SocketError) -> Self {
        let crate::socket::SocketError { operation, source } = error;
        match source.raw_os_error() {
            Some(errno::ENOBUFS) => Self::Overrun { operation },
            _ => Self::Socket { operation, source },
        }
    }
}

#[cfg(feature = "netlink")]
impl Error {
    pub(crate) fn from_errno(operation: &'static str, errno: i32) -> Self {
        match errno {
            errno::EPERM => Self::NotPermitted { operation },
            errno::ENOBUFS => Self::Overrun { operation },
            _ => Self::Kernel { operation, errno },
        }
    }
}

/// The kernel refused one command; those around it were still processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{command}: {} (errno {errno})", self.reason())]
pub struct KernelRefusal {
    pub command: Command,
    pub errno: i32,
}

impl KernelRefusal {
    /// What the errno means for this command.
    pub fn reason(&self) -> String {
        let about_service = self.command.is_about_service();
        match self.errno {
            errno::EPERM => {
                "not permitted; CAP_NET_ADMIN in the initial user namespace is needed".to_owned()
            }
            errno::ENOENT if about_service => "the kernel has no such scheduler".to_owned(),
            errno::ENOENT => "no such real server".to_owned(),
            errno::ESRCH => "no such virtual service".to_owned(),
            errno::EEXIST if about_service => "the virtual service is there already".to_owned(),
            errno::EEXIST => "the real server is there already".to_owned(),
            errno::ERANGE => "weight or thresholds out of range".to_owned(),
            errno::EINVAL => {
                "the kernel finds an attribute invalid (is the address unicast?)".to_owned()
            }
            errno::EAFNOSUPPORT => "the kernel does not have this address family".to_owned(),
            other => io::Error::from_raw_os_error(other).to_string(),
        }
    }
}
