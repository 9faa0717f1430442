//! What the real kernel and the in-memory one have in common.
//!
//! Reading takes care of the trap of IPVS dumps: they are not snapshots. Under churn, entries are missing or doubled
//! and no flag says so. [`Kernel::read`] de-duplicates, and believes an absence only after asking for that service.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::dump::{Dump, Unreadable};
use crate::error::{Error, KernelRefusal};
use crate::model::Command;
use crate::model::{Connections, RealServer, ServiceId, ServiceSettings, Table, VirtualService};

/// A table read from the kernel, and the connections counted while it was read.
#[derive(Debug, Clone, Default)]
pub struct Live {
    pub table: Table,
    pub connections: BTreeMap<(ServiceId, SocketAddr), Connections>,
    /// What else is in the kernel, and of a kind that we don't know; the first few.
    pub unreadable: Vec<Unreadable>,
}

/// A table of virtual services in some kernel.
pub trait Kernel {
    /// Does all commands in order. A refused one does not stop those after it; the answers are in the same order.
    fn apply(&mut self, commands: &[Command]) -> Result<Vec<Result<(), KernelRefusal>>, Error>;

    /// One dump of all virtual services, as it came: perhaps with gaps and doubles.
    fn services(&mut self) -> Result<Dump<(ServiceId, ServiceSettings)>, Error>;

    /// One virtual service, asked for by identity; `None` is certain: it is not there, or as we can't have left it.
    fn service(&mut self, id: &ServiceId) -> Result<Option<ServiceSettings>, Error>;

    /// One dump of the real servers of a virtual service. Of a missing service this is empty, not an error.
    fn reals(&mut self, id: &ServiceId) -> Result<Dump<(RealServer, Connections)>, Error>;

    /// The table as it is. What is in `expected` and not in the dump is asked for by name before it counts as gone.
    fn read(&mut self, expected: &Table) -> Result<Live, Error> {
        let mut live = Live::default();
        let services = self.services()?;
        Unreadable::note(&mut live.unreadable, None, &services.unreadable);
        let mut found: BTreeMap<ServiceId, ServiceSettings> = services.into_iter().collect();
        for (id, _) in expected.iter() {
            if !found.contains_key(id)
                && let Some(settings) = self.service(id)?
            {
                found.insert(*id, settings);
            }
        }
        for (id, settings) in found {
            let dump = self.reals(&id)?;
            Unreadable::note(&mut live.unreadable, Some(id), &dump.unreadable);
            let mut reals = dump.entries;
            let fewer = expected
                .get(&id)
                .is_some_and(|known| known.reals().len() > reals.len());
            if fewer {
                // A dump of real servers that lost some may have raced with a change: the union of two is asked for.
                reals.extend(self.reals(&id)?);
            }
            for (real, connections) in &reals {
                live.connections.insert((id, real.address), *connections);
            }
            let reals = reals.into_iter().map(|(real, _)| real).collect();
            live.table.insert(id, VirtualService::new(settings, reals));
        }
        Ok(live)
    }
}
