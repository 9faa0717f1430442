//! What the kernel's table should be, from what Nomad and Consul say. Pure.
//!
//! [`desired`] joins the snapshots: policies (config file, tags) give virtual services (`claim`), the catalogue gives their
//! instances, the fleet gives each instance's allocation, and [`rule`] says what its real server should be. It does
//! not know what the kernel has; where a rule depends on that ("none if new, weight 0 if known") it says so with a
//! [`Want`] that [`crate::plan`] resolves. [`renew`] comes to the same from what it was before, at the price of what differs.

mod claim;
mod doubt;
mod endpoint;
mod members;
mod occupied;
mod renew;
pub mod rule;
mod saved;
mod service;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipvs::{Forwarding, ServiceId, ServiceSettings};

pub use endpoint::{Endpoint, Want};
pub use occupied::{Holder, Holders};
pub use renew::{Scope, renew};
pub use saved::{SavedService, SavedTable};
pub(crate) use service::RAMP_STEPS;

use claim::Grounds;
use renew::Basis;
use service::service;

use crate::model::catalog::Catalog;
use crate::model::fleet::{Fleet, Phase};
use crate::model::policy::{Policy, Rejected};
use crate::model::safeguard::Safeguards;

/// What is known of Nomad.
#[derive(Debug, Clone, Copy)]
pub enum FleetView<'a> {
    /// Nomad is not configured, or could not be reached for so long that Consul alone has to do.
    Absent,
    /// Nomad has not been read yet: nothing new is let in, nothing known is touched.
    Awaited,
    Known(&'a Arc<Fleet>),
}

/// Everything that a pass looks at.
#[derive(Debug, Clone, Copy)]
pub struct Snapshots<'a> {
    /// `None` until the catalogue has been read once in this process's life.
    pub catalog: Option<&'a Arc<Catalog>>,
    pub fleet: FleetView<'a>,
    /// Endpoints that have passed their trial: they took one connection from the director, or their nodes take the VIP.
    pub warmed: &'a BTreeSet<(ServiceId, SocketAddr)>,
    /// Endpoints whose nodes say that they do not take the VIP.
    pub refusals: &'a Arc<BTreeSet<(ServiceId, SocketAddr)>>,
    /// What was applied last, from the disk; used while `catalog` is `None`.
    pub last: &'a SavedTable,
    /// Phases that drivers' hints say ahead of Nomad.
    pub hints: &'a HintPhases,
    /// Where no VIP may be, whatever the catalogues say.
    pub occupied: &'a Arc<Holders>,
}

/// Phases by host port, from drivers' hints.
pub type HintPhases = BTreeMap<SocketAddr, Phase>;

/// One virtual service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredService {
    pub name: Arc<str>,
    pub settings: ServiceSettings,
    pub forwarding: Forwarding,
    pub snat: bool,
    pub drain: Duration,
    pub safeguards: Safeguards,
    pub declared: Declared,
    /// Whether the catalogue has been read for it. If not, whatever the kernel has of it is left as it is, and
    /// `endpoints` are for a kernel that has nothing of it.
    pub complete: bool,
    /// Endpoints in order of address, none twice.
    pub endpoints: Vec<Endpoint>,
}

/// Where a virtual service was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Declared {
    Config,
    Tags,
    /// The table on disk; its sources have not been read yet.
    Disk,
}

/// The whole of what should be. All of it is ours: nothing outside [`Policy::ownership`] is ever asked for.
#[derive(Debug, Clone, Default)]
pub struct Desired {
    pub services: BTreeMap<ServiceId, Arc<DesiredService>>,
    /// What is not as somebody asked for it, by service, in order.
    pub rejected: Vec<(Arc<str>, Rejected)>,
    /// Drain deadlines of virtual services that were applied and are not wanted any more.
    pub leaving: BTreeMap<ServiceId, Duration>,
    /// Whether the sources have been read: if not, what is missing here may still exist, and nothing may be removed.
    pub complete: bool,
    /// Nomad's view, for the fate of what the catalogue does not have.
    pub fleet: Option<Arc<Fleet>>,
    pub hints: HintPhases,
    /// Whether Nomad has not been read yet, so that nobody knows the fate of what the catalogue does not have.
    pub awaited: bool,
    /// What the next look compares with, if it may.
    pub(crate) basis: Option<Basis>,
}

impl Desired {
    /// Copies all but the virtual services and the rejections: enough to tell the fate of a real server.
    #[must_use]
    pub fn outline(&self) -> Self {
        Self {
            services: BTreeMap::new(),
            rejected: Vec::new(),
            leaving: BTreeMap::new(),
            complete: self.complete,
            fleet: self.fleet.clone(),
            hints: self.hints.clone(),
            awaited: self.awaited,
            basis: None,
        }
    }

    /// Says what a real server should be that the kernel has and the catalogue does not have.
    pub fn fate(&self, address: SocketAddr) -> (Want, Option<Phase>) {
        let phase = self.phase(address);
        if phase.is_none() && self.awaited {
            return (Want::Keep, None);
        }
        (rule::want(phase, None), phase)
    }

    fn phase(&self, address: SocketAddr) -> Option<Phase> {
        let hint = self.hints.get(&address).copied();
        hint.or_else(|| {
            self.fleet
                .as_ref()?
                .at(address)
                .map(|alloc| alloc.phase(address))
        })
    }

    /// Whether the allocation at `address` is told to stop and another of its group is on its way: as long as nothing
    /// else serves, it serves on, for a service that shall have a usable real server never passes through zero.
    pub fn awaits_successor(&self, address: SocketAddr) -> bool {
        let Some(fleet) = &self.fleet else {
            return false;
        };
        let leaving = fleet
            .at(address)
            .filter(|_| self.phase(address) == Some(Phase::Stopping));
        leaving.is_some_and(|alloc| fleet.has_successor(alloc))
    }
}

/// Makes the desired state from what is known.
pub fn desired(snapshots: &Snapshots<'_>, policy: &Policy) -> Desired {
    let Some(catalog) = snapshots.catalog else {
        return saved::from_disk(snapshots.last, snapshots.occupied, policy);
    };
    let mut desired = Desired {
        complete: true,
        hints: snapshots.hints.clone(),
        awaited: matches!(snapshots.fleet, FleetView::Awaited),
        ..Desired::default()
    };
    if let FleetView::Known(fleet) = snapshots.fleet {
        desired.fleet = Some(Arc::clone(fleet));
    }
    let nodes = Arc::new(occupied::nodes(catalog, snapshots, policy));
    let grounds = Grounds {
        policy,
        occupied: snapshots.occupied,
        nodes: &nodes,
        last: snapshots.last,
    };
    let grants = claim::claims(catalog, &grounds, &mut desired.rejected);
    let rejected = &mut desired.rejected;
    let services = grants.claims.into_iter().map(|claim| {
        let id = claim.vip.id;
        (id, Arc::new(service(claim, snapshots, policy, rejected)))
    });
    // In order already: built from the bottom, not searched for each.
    desired.services = services.collect();
    refuse_loops(&mut desired, policy);
    desired.rejected.sort_by(by_service_and_reason);
    desired.leaving = leaving(&desired, snapshots.last, policy);
    if !grants.entangled {
        desired.basis = Basis::of(&desired, catalog, snapshots, &nodes);
    }
    desired
}

fn by_service_and_reason(left: &(Arc<str>, Rejected), right: &(Arc<str>, Rejected)) -> Ordering {
    let reasons = || left.1.reason.cmp(&right.1.reason);
    left.0.cmp(&right.0).then_with(reasons)
}

fn leaving(desired: &Desired, last: &SavedTable, policy: &Policy) -> BTreeMap<ServiceId, Duration> {
    let leaves = |saved: &&SavedService| !desired.services.contains_key(&saved.id);
    let drain = |saved: &SavedService| (saved.id, saved.drain.unwrap_or(policy.drain));
    last.iter().filter(leaves).map(drain).collect()
}

/// A VIP that is its own real server would feed its packets to itself.
fn refuse_loops(desired: &mut Desired, policy: &Policy) {
    let owned = |endpoint: &Endpoint| policy.ownership.contains(endpoint.address.ip());
    if !desired
        .services
        .values()
        .flat_map(|service| &service.endpoints)
        .any(owned)
    {
        return;
    }
    let vips: BTreeSet<IpAddr> = desired.services.keys().filter_map(ServiceId::vip).collect();
    let rejected = &mut desired.rejected;
    let is_looped = |endpoint: &Endpoint| owned(endpoint) && vips.contains(&endpoint.address.ip());
    for service in desired.services.values_mut() {
        if !service.endpoints.iter().any(is_looped) {
            continue;
        }
        let looped = service
            .endpoints
            .iter()
            .filter(|endpoint| is_looped(endpoint));
        rejected.extend(looped.map(|endpoint| {
            let reason = format!("instance {} is itself a VIP", endpoint.address);
            (Arc::clone(&service.name), Rejected::because(reason))
        }));
        Arc::make_mut(service)
            .endpoints
            .retain(|endpoint| !is_looped(endpoint));
    }
}

#[cfg(test)]
mod tests;
