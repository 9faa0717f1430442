//! The director's hands: they read and change what the kernel has, and decide nothing.
//!
//! [`DataPlane`] is the port that [`crate::reconcile`] uses. [`KernelDataPlane`] is the real one: IPVS by netlink on a
//! thread of its own, VIPs by route netlink on another, SNAT by whichever backend the kernel takes, and the sysctls without which none of
//! it works. Only what is ours is touched: own table or chain, own addresses, virtual services inside our ranges.

pub mod address;
mod counter;
pub mod flow;
mod kernel;
pub mod neighbour;
mod netlink;
pub mod rules;
pub mod snat;
pub mod sysctl;
mod table;
mod thread;
mod vip;

use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;

use ipvs::{ServiceId, Table};
use syncer_core::desired::Holder;
use syncer_core::pass::Failure;
use syncer_core::plan::Step;
use syncer_core::reading::{Counts, Reading};
use tracing::debug;

use crate::error::chain;

pub use crate::command::CommandError;
pub use counter::Counter;
pub use flow::TrackerError;
pub use kernel::KernelDataPlane;
pub use neighbour::NeighbourError;
pub use snat::SnatError;
pub use sysctl::SysctlError;
pub use thread::ThreadError;

/// Why a step or a reading failed.
#[derive(Debug, thiserror::Error)]
pub enum DataPlaneError {
    #[error(transparent)]
    Refused(#[from] ipvs::KernelRefusal),
    #[error("the conversation with the kernel failed")]
    Kernel(#[from] ipvs::Error),
    #[error("not answered, for the conversation with the kernel failed: {0}")]
    Unanswered(Arc<str>),
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
    Tracker(#[from] TrackerError),
    #[error("what was tracked is not forgotten: {0}")]
    Unforgotten(Arc<str>),
    #[error(transparent)]
    Neighbour(#[from] NeighbourError),
    #[error(transparent)]
    Address(#[from] address::AddressError),
}

impl DataPlaneError {
    /// With the whole chain of causes, for status and log.
    pub fn chain(&self) -> String {
        chain(self)
    }

    /// What it means for the pass that asked.
    pub(crate) fn into_failure(self) -> Failure {
        let reason = self.chain();
        match self {
            Self::Refused(refused) => Failure::Refused { refused, reason },
            Self::Taken { holder, .. } => Failure::Taken { holder, reason },
            _ => Failure::Other { reason },
        }
    }
}

/// The outcomes of all parts of a conversation that failed: nothing is known of any of them.
fn lost<T>(
    error: impl Error + Into<DataPlaneError> + 'static,
    count: usize,
) -> Vec<Result<T, DataPlaneError>> {
    let reason: Arc<str> = chain(&error).into();
    debug!(error = &*reason, count, "a batch of changes is lost");
    let unanswered = || DataPlaneError::Unanswered(Arc::clone(&reason));
    let rest = (1..count).map(|_| Err(unanswered()));
    std::iter::once(Err(error.into())).chain(rest).collect()
}

/// What a reconciler needs of a data plane.
pub trait DataPlane: Send {
    /// Prepares the kernel where needed and reads all there is. `expected` names what should be found.
    fn read(
        &mut self,
        expected: &Table,
    ) -> impl Future<Output = Result<Reading, DataPlaneError>> + Send;

    /// Waits until something that the last reading did not wait for is known to differ from it; the next one tells it.
    /// Cancel-safe.
    fn differs(&mut self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// Counts the connections of these virtual services.
    fn count(
        &mut self,
        services: &[ServiceId],
    ) -> impl Future<Output = Result<Counts, DataPlaneError>> + Send;

    /// Does the steps in order, whatever becomes of each; one outcome a step.
    fn apply(
        &mut self,
        steps: &[Step],
    ) -> impl Future<Output = Vec<Result<(), DataPlaneError>>> + Send;
}
