//! The director's hands: they read and change what the kernel has, and decide nothing.
//!
//! [`Director`] is the port that [`crate::reconcile`] uses. [`KernelDirector`] is the real one: IPVS by netlink on a
//! thread of its own, VIPs by route netlink on another, SNAT by whichever backend the kernel takes, and the sysctls without which none of
//! it works. Only what is ours is touched: own table or chain, own addresses, virtual services inside our ranges.

pub mod address;
mod command;
mod counter;
mod kernel;
pub mod neighbour;
pub mod rules;
pub mod snat;
mod sysctl;
mod thread;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use ipvs::{Connections, ServiceId, Table, Unreadable};

pub use command::CommandError;
pub use counter::Counter;
pub use kernel::KernelDirector;
pub use neighbour::NeighbourError;
pub use snat::SnatError;
pub use sysctl::SysctlError;
pub use thread::ThreadError;

use crate::desired::Holder;
use crate::plan::{Addresses, SnatSet, Step, Sysctls};

/// Connections by virtual service and real server.
pub type Counts = BTreeMap<(ServiceId, SocketAddr), Connections>;

/// Everything there is, as just read.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    pub table: Table,
    pub counts: Counts,
    pub addresses: Addresses,
    /// `None` where it has to be set anew.
    pub snat: Option<SnatSet>,
    /// Those that are not as a virtual service may need them.
    pub sysctls: Sysctls,
    /// What somebody else has in the kernel that can't be read, and that nobody here touches; the first few.
    pub unreadable: Vec<Unreadable>,
}

/// Why a step or a reading failed.
#[derive(Debug, thiserror::Error)]
pub enum DirectorError {
    #[error(transparent)]
    Refused(#[from] ipvs::Refused),
    #[error("the conversation with the kernel failed")]
    Kernel(#[from] ipvs::Error),
    #[error("not answered, for the conversation with the kernel failed: {0}")]
    Unanswered(std::sync::Arc<str>),
    #[error(transparent)]
    Thread(#[from] ThreadError),
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error(transparent)]
    Snat(#[from] SnatError),
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    #[error("{vip} is {holder}; it is not added")]
    Taken { vip: IpAddr, holder: Holder },
    #[error(transparent)]
    Neighbour(#[from] NeighbourError),
    #[error(transparent)]
    Address(#[from] address::AddressError),
}

impl DirectorError {
    /// With the whole chain of causes, for status and log.
    pub fn told(&self) -> String {
        crate::error::chain(self)
    }
}

/// What a reconciler needs of a director.
pub trait Director: Send {
    /// Prepares the kernel where needed and reads all there is. `expected` names what should be found.
    fn read(
        &mut self,
        expected: &Table,
    ) -> impl Future<Output = Result<Reading, DirectorError>> + Send;

    /// Waits until something that the last reading did not wait for is known to differ from it; the next one tells it.
    /// Cancel-safe.
    fn differs(&mut self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// Counts the connections of these virtual services.
    fn count(
        &mut self,
        services: &[ServiceId],
    ) -> impl Future<Output = Result<Counts, DirectorError>> + Send;

    /// Does the steps in order, whatever becomes of each; one outcome a step.
    fn apply(
        &mut self,
        steps: &[Step],
    ) -> impl Future<Output = Vec<Result<(), DirectorError>>> + Send;
}
