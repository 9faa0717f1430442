//! A kernel table in memory, for tests: the kernel's refusals, and faults to order.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use crate::dump::Dump;
use crate::errno;
use crate::error::{Error, KernelRefusal};
use crate::kernel::Kernel;
use crate::model::Command;
use crate::model::{Connections, RealServer, Scheduler, ServiceId, ServiceSettings, Table};
use crate::wire::Malformed;

/// Schedulers that the fake kernel has.
const SCHEDULERS: [&str; 12] = [
    "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "dh", "sed", "nq", "mh", "fo",
];

/// A table, the connections that are claimed for it, and the failures that the next commands meet.
#[derive(Debug, Clone, Default)]
pub struct FakeKernel {
    pub table: Table,
    pub connections: BTreeMap<(ServiceId, SocketAddr), Connections>,
    /// The errno for each of the next commands; 0 lets it through.
    pub faults: VecDeque<i32>,
    /// Services that the next dump leaves out, as dumps under churn do.
    pub hidden_from_dump: Vec<ServiceId>,
    /// Virtual services of somebody else that no dump can be read of, and real servers of these.
    pub unreadable: Vec<Malformed>,
    pub unreadable_of: BTreeMap<ServiceId, Vec<Malformed>>,
}

impl FakeKernel {
    fn obey(&mut self, command: &Command) -> Result<(), i32> {
        match self.faults.pop_front() {
            None | Some(0) => {}
            Some(errno) => return Err(errno),
        }
        let unknown = |scheduler: &Scheduler| !SCHEDULERS.contains(&scheduler.as_str());
        match command {
            Command::AddService(id, _) if self.table.get(id).is_some() => {
                return Err(errno::EEXIST);
            }
            Command::EditService(id, _) if self.table.get(id).is_none() => {
                return Err(errno::ESRCH);
            }
            Command::AddService(_, settings) | Command::EditService(_, settings)
                if unknown(&settings.scheduler) =>
            {
                return Err(errno::ENOENT);
            }
            Command::AddReal(_, real) | Command::EditReal(_, real)
                if real.thresholds.lower > real.thresholds.upper =>
            {
                return Err(errno::ERANGE);
            }
            Command::AddReal(_, real) | Command::EditReal(_, real)
                if real.address.ip().is_multicast() =>
            {
                return Err(errno::EINVAL);
            }
            _ => {}
        }
        self.table.apply(command)
    }
}

impl Kernel for FakeKernel {
    fn apply(&mut self, commands: &[Command]) -> Result<Vec<Result<(), KernelRefusal>>, Error> {
        Ok(commands
            .iter()
            .map(|command| {
                self.obey(command).map_err(|errno| KernelRefusal {
                    command: *command,
                    errno,
                })
            })
            .collect())
    }

    fn services(&mut self) -> Result<Dump<(ServiceId, ServiceSettings)>, Error> {
        let hidden = std::mem::take(&mut self.hidden_from_dump);
        let listed = self.table.iter().filter(|(id, _)| !hidden.contains(id));
        Ok(Dump {
            entries: listed
                .map(|(id, service)| (*id, service.settings))
                .collect(),
            unreadable: self.unreadable.clone(),
        })
    }

    fn service(&mut self, id: &ServiceId) -> Result<Option<ServiceSettings>, Error> {
        Ok(self.table.get(id).map(|service| service.settings))
    }

    fn reals(&mut self, id: &ServiceId) -> Result<Dump<(RealServer, Connections)>, Error> {
        let reals = self
            .table
            .get(id)
            .map(super::VirtualService::reals)
            .unwrap_or_default();
        let counted = |real: &RealServer| {
            self.connections
                .get(&(*id, real.address))
                .copied()
                .unwrap_or_default()
        };
        Ok(Dump {
            entries: reals.iter().map(|real| (*real, counted(real))).collect(),
            unreadable: self.unreadable_of.get(id).cloned().unwrap_or_default(),
        })
    }
}
