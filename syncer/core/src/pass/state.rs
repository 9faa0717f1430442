//! What a pass leaves behind for everybody else: one immutable value after each pass, on a `watch` channel.
//!
//! ```text
//! pass ─▶ watch<Arc<PassState>> ─▶ status address (page, JSON, metrics, ready), drain barrier
//! ```
//!
//! The loop is never asked anything: whoever reads has the value, whatever the loop is doing by then. The maps share what
//! did not change with the value before, so that a pass over one virtual service publishes one.

mod places;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{AckLatency, Reason};
use crate::desired::{Desired, DesiredService, SavedTable, Scope};
use crate::guard::Hold;
use crate::model::AllocId;
use crate::model::policy::{Ownership, Rejected};
use crate::plan::{Drain, Drains};
use imbl::OrdMap;
use ipvs::{Forwarding, ServiceId, Table, VirtualService, Weight};
use places::{Number, Places};

/// How things stand after a pass.
#[derive(Debug, Clone, Default)]
pub struct PassState {
    /// The last pass; `None` before the first one.
    pub pass: Option<PassRecord>,
    /// Whether a pass was whole once in this process's life.
    pub complete: bool,
    /// Whether the kernel was read at least once, so that `services` is what it has.
    pub read: bool,
    /// What should be, without its virtual services: those are in `services`.
    pub outline: Arc<Desired>,
    pub rejected: Arc<[(Arc<str>, Rejected)]>,
    /// All virtual services of ours, those on their way out included.
    pub services: OrdMap<ServiceId, Arc<ServiceState>>,
    pub(super) places: Places,
    /// What the shrink guard holds back.
    pub hold: Option<Hold>,
    /// The latest errors, the newest last.
    pub errors: Arc<[(Instant, String)]>,
    pub kernel_ack: AckLatency,
    pub unread: Unread,
    /// What the last reading of the kernel found that was not as we had left it, until a whole pass has put it right.
    /// Whatever else is read from the data plane and compared reports here.
    pub drift: Arc<[String]>,
    /// Entries of somebody else in the kernel that can't be read, and that nobody here touches; the first few.
    pub unreadable: Arc<[String]>,
    /// Changes of the hints that this pass has seen.
    pub hints: u64,
    /// Another pass is due within this time, whatever happens.
    pub interval: Duration,
}

/// One pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassRecord {
    pub number: u64,
    pub reason: Reason,
    pub ended: Instant,
    pub took: Duration,
    /// The longest of all passes of this process, and the sum of all.
    pub longest: Duration,
    pub total: Duration,
    pub steps: usize,
    pub failed: usize,
    /// How many of the failed steps the kernel understood and refused.
    pub refused: usize,
    /// Every step that was not done was refused, and nothing is in doubt.
    pub whole: bool,
}

/// What of the catalogue has not been read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unread {
    /// Services that are followed.
    pub services: usize,
    /// The list of services: there may be more that ask for a VIP.
    pub list: bool,
}

/// One virtual service: as it should be and as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceState {
    pub name: Arc<str>,
    pub snat: bool,
    /// `None`: it is on its way out.
    pub wanted: Option<Arc<DesiredService>>,
    /// `None`: the kernel does not have it.
    pub actual: Option<Arc<VirtualService>>,
    /// Its real servers on their way out, in order of address.
    pub drains: Vec<(SocketAddr, Drain)>,
    number: Number,
}

impl ServiceState {
    /// When the drain of that real server ends.
    pub fn drain(&self, address: SocketAddr) -> Option<&Drain> {
        let at = self
            .drains
            .binary_search_by_key(&address, |(address, _)| *address);
        self.drains.get(at.ok()?).map(|(_, drain)| drain)
    }

    /// Whether it is still as it was published.
    fn is_as(&self, id: &ServiceId, world: &World<'_>) -> bool {
        self.wanted.as_ref() == world.desired.services.get(id)
            && self.actual.as_deref() == world.table.get(id)
            && self.drains.iter().copied().eq(world.drains_of(id))
    }
}

/// What a pass makes its state from.
#[derive(Debug, Clone, Copy)]
pub(super) struct World<'a> {
    pub(super) desired: &'a Desired,
    pub(super) table: &'a Table,
    pub(super) drains: &'a Drains,
    /// As they were applied last, in order of identity: names for those that nobody wants any more.
    pub(super) last: &'a SavedTable,
    pub(super) ownership: &'a Ownership,
}

impl World<'_> {
    fn drains_of(&self, id: &ServiceId) -> impl Iterator<Item = (SocketAddr, Drain)> {
        let id = *id;
        let from = (id, SocketAddr::from(([0, 0, 0, 0], 0)));
        let later = self.drains.0.range(from..);
        later
            .take_while(move |((other, _), _)| *other == id)
            .map(|((_, address), drain)| (*address, *drain))
    }

    /// `None`: nobody wants it and the kernel has it not, or it is somebody else's.
    fn service(
        &self,
        id: &ServiceId,
        before: Option<&ServiceState>,
        number: Number,
    ) -> Option<ServiceState> {
        let wanted = self.desired.services.get(id).cloned();
        let actual = self.table.share(id).filter(|_| self.ownership.owns(id));
        if wanted.is_none() && actual.is_none() {
            return None;
        }
        let saved = || self.last.get(id);
        let (name, snat) = match (&wanted, before) {
            (Some(wanted), _) => (Arc::clone(&wanted.name), wanted.snat),
            (None, Some(before)) => (Arc::clone(&before.name), before.snat),
            (None, None) => saved().map_or_else(
                || (id.to_string().into(), false),
                |saved| (Arc::clone(&saved.name), saved.snat),
            ),
        };
        Some(ServiceState {
            name,
            snat,
            wanted,
            actual,
            drains: self.drains_of(id).collect(),
            number,
        })
    }
}

impl PassState {
    /// Renews the virtual services that the pass has looked at, for they may have changed.
    pub(super) fn follow(&mut self, scope: &Scope, world: &World<'_>) {
        match scope {
            Scope::Only(ids) => {
                for id in ids {
                    self.renew(id, world);
                }
            }
            Scope::Whole => {
                let owned = world.table.iter().map(|(id, _)| id);
                let mut ids: BTreeSet<ServiceId> = self.services.keys().copied().collect();
                ids.extend(world.desired.services.keys());
                ids.extend(owned.filter(|id| world.ownership.owns(id)));
                for id in &ids {
                    self.renew(id, world);
                }
            }
        }
        if self.rejected[..] != world.desired.rejected[..] {
            self.rejected = world.desired.rejected.clone().into();
        }
        self.outline = Arc::new(world.desired.outline());
    }

    /// For tests of those who read it.
    #[cfg(any(test, feature = "testing"))]
    pub fn follow_whole(&mut self, desired: &Desired, table: &Table) {
        let range = |range: &str| range.parse().expect("a range");
        let world = World {
            desired,
            table,
            drains: &Drains::default(),
            last: &SavedTable::default(),
            ownership: &Ownership::of(vec![range("0.0.0.0/0"), range("::/0")]),
        };
        self.follow(&Scope::Whole, &world);
    }

    fn renew(&mut self, id: &ServiceId, world: &World<'_>) {
        let before = self.services.get(id).map(Arc::clone);
        if before
            .as_ref()
            .is_some_and(|before| before.is_as(id, world))
        {
            return;
        }
        let number = before.as_ref().map(|before| before.number);
        let number = number.unwrap_or_else(|| self.places.number(*id));
        let service = world.service(id, before.as_deref(), number);
        let (old, new) = (addresses(before.as_deref()), addresses(service.as_ref()));
        if old != new {
            for address in old {
                self.places.remove(address, number);
            }
            for address in new {
                self.places.insert(address, number);
            }
        }
        if let Some(service) = service {
            self.services.insert(*id, Arc::new(service));
        } else {
            self.services.remove(id);
            self.places.free(number);
        }
    }

    /// Lists the virtual services that have a real server at that address, with its weight.
    pub fn at(&self, address: SocketAddr) -> impl Iterator<Item = (ServiceId, Weight)> {
        self.places.candidates(address).filter_map(move |id| {
            let service = self.services.get(&id)?.actual.as_ref()?;
            Some((id, service.real(address)?.weight))
        })
    }

    /// Whether the kernel's real server there answers past the director.
    pub fn is_direct(&self, id: &ServiceId, address: SocketAddr) -> bool {
        let service = self
            .services
            .get(id)
            .and_then(|service| service.actual.as_ref());
        let real = service.and_then(|service| service.real(address));
        real.is_some_and(|real| real.forwarding == Forwarding::DirectRouting)
    }

    /// Lists the real servers that are of that allocation, as the catalogue has it.
    pub fn of_alloc(
        &self,
        alloc: AllocId,
    ) -> impl Iterator<Item = (ServiceId, SocketAddr, Weight)> {
        self.services.iter().flat_map(move |(id, service)| {
            let endpoints = service.wanted.iter().flat_map(|wanted| &wanted.endpoints);
            endpoints
                .filter(move |endpoint| endpoint.alloc == Some(alloc))
                .filter_map(move |endpoint| {
                    let real = service.actual.as_ref()?.real(endpoint.address)?;
                    Some((*id, real.address, real.weight))
                })
        })
    }

    /// Lists the virtual services that the kernel has.
    pub fn in_kernel(&self) -> impl Iterator<Item = ServiceId> {
        let services = self
            .services
            .iter()
            .filter(|(_, service)| service.actual.is_some());
        services.map(|(id, _)| *id)
    }
}

/// Lists the addresses of the real servers that the kernel has, in order.
fn addresses(service: Option<&ServiceState>) -> Vec<SocketAddr> {
    let actual = service.and_then(|service| service.actual.as_ref());
    let reals = actual.iter().flat_map(|actual| actual.reals());
    reals.map(|real| real.address).collect()
}

#[cfg(test)]
mod tests;
