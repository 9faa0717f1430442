//! From what should be and what is, the steps between them. Pure: no clock, no I/O; time is an argument.
//!
//! Order is *make before break*: first what packets need on their way (SNAT, VIPs, virtual services), then new real
//! servers and higher weights, then lower weights, then removals, last what nothing needs any more. From any prefix of
//! the steps the next plan leads to the same end, because it starts from what is. A step that fails lets the steps
//! pass that do not rest on it: [`Gate`] knows which.
//!
//! Drains go in and come out as a value: a real server that goes has weight 0 until it is idle or its deadline passes.

mod drain;
mod gate;
mod leave;
mod merge;
mod method;
mod order;
mod raise;
mod ramp;
mod step;
mod substitute;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ipvs::{Command, Connections, RealServer, ServiceId, Table};

pub use crate::reading::{AddressKeeper, Addresses, Need, SnatSet, Sysctl, Sysctls};
pub use drain::{COUNT_INTERVAL, Drain, Drains};
pub use gate::Gate;
pub use ramp::{Ramp, Ramps};
pub use step::Step;

use crate::desired::{Desired, SavedTable, Scope};
use crate::model::Moment;
use crate::model::policy::Ownership;

/// What the director has.
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    pub table: &'a Table,
    /// Virtual services as they were applied last.
    pub applied: &'a SavedTable,
    /// Counts that were read since the last change; a missing one is unknown.
    pub connections: &'a BTreeMap<(ServiceId, SocketAddr), Connections>,
    /// Raises of weights under way, as the plan before has left them.
    pub ramps: &'a Ramps,
    pub addresses: &'a Addresses,
    /// `None`: not read, or not as it should be; it is set again.
    pub snat: Option<&'a SnatSet>,
    /// Rules that were there are not any more: packets have passed without them.
    pub snat_lost: bool,
    /// Those that are not as a virtual service may need them.
    pub sysctls: &'a Sysctls,
}

/// What to do, and what to remember.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    pub steps: Vec<Step>,
    /// Where in `steps` each of the six stages ends but the last: whatever lowers and removes in virtual services that get
    /// nothing new, so that it waits for nobody; sysctls, SNAT and VIPs; virtual services; new real servers and higher
    /// weights; what else lowers and removes; SNAT and VIPs that nothing needs any more.
    pub stages: [usize; 5],
    pub drains: Drains,
    pub ramps: Ramps,
    /// When to look again although nothing happened.
    pub wake_at: Option<Moment>,
    /// Endpoints that want one connection before they serve.
    pub probes: Vec<(ServiceId, SocketAddr)>,
    /// Endpoints whose nodes have to take packets to the VIP before they serve.
    pub offers_due: Vec<(ServiceId, SocketAddr)>,
    /// What the next plan has to look at, although nothing new may be known of it, once all steps are done.
    pub next: Scope,
}

impl Plan {
    /// Where the stage ends that a step is in. What fails in one stage decides what a [`Gate`] lets through in the next.
    pub fn stage_end(&self, step: usize) -> usize {
        let ends = self.stages.iter().copied();
        let end = ends.filter(|end| *end > step).min();
        end.unwrap_or(self.steps.len())
    }
}

/// The steps from `observed` to `desired`, of what `scope` has: what the plan before has left open, and what is not as
/// it was since.
pub fn plan(
    desired: &Desired,
    observed: &Observed<'_>,
    drains: &Drains,
    ownership: &Ownership,
    scope: &Scope,
    now: Moment,
) -> Plan {
    let mut work = merge::Merge::new(desired, observed, drains, now);
    match scope {
        Scope::Whole => walk(&mut work, desired, observed.table, ownership),
        Scope::Only(ids) => {
            for id in ids {
                let current = observed.table.get(id).filter(|_| ownership.owns(id));
                match (desired.services.get(id), current) {
                    (Some(service), current) => work.service(id, service, current),
                    (None, Some(forsaken)) => work.forsaken(id, forsaken),
                    (None, None) => {}
                }
            }
        }
    }
    work.finish(scope)
}

fn walk(work: &mut merge::Merge<'_>, desired: &Desired, table: &Table, ownership: &Ownership) {
    // Both are in order of identity.
    let mut current = table.iter().filter(|(id, _)| ownership.owns(id)).peekable();
    for (id, service) in &desired.services {
        while let Some((other, forsaken)) = current.next_if(|(other, _)| *other < id) {
            work.forsaken(other, forsaken);
        }
        let same = current.next_if(|(other, _)| *other == id);
        work.service(id, service, same.map(|(_, service)| service));
    }
    for (id, service) in current {
        work.forsaken(id, service);
    }
}

/// Shorthand for steps that go to the kernel's table.
fn edit(id: &ServiceId, real: RealServer) -> Step {
    Step::Ipvs(Command::EditReal(*id, real))
}

#[cfg(test)]
mod tests;
