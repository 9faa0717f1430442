//! The same as [`desired`], from what it was before: only what differs is decided anew. Pure.
//!
//! Of ten thousand virtual services one has changed, as a rule, and a pass that looks at the others as well spends its time
//! on them. Sources hand on what did not change as it is (the same `Arc`), so that what did is found without looking into
//! the rest. Where more may differ than instances, hints and trials of single services (Nomad told something, a tag
//! changed, something was refused, held back or not read yet), all of it is decided anew.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use ipvs::ServiceId;

use super::claim::{Grounds, OfService};
use super::service::service as service_of;
use super::{
    Desired, DesiredService, FleetView, HintPhases, Holders, SavedService, Snapshots,
    by_service_and_reason, desired,
};
use crate::model::catalog::Catalog;
use crate::model::policy::{Policy, Rejected, VipPolicy};

/// Which virtual services may differ from what they were, and with them everything else that may.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Scope {
    #[default]
    Whole,
    /// These virtual services and nothing else.
    Only(BTreeSet<ServiceId>),
}

impl Scope {
    /// Joins two scopes.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Only(mut these), Self::Only(those)) => {
                these.extend(those);
                Self::Only(these)
            }
            _ => Self::Whole,
        }
    }
}

/// What a [`Desired`] was made of, where each of its virtual services comes from its own catalogue entry alone.
#[derive(Debug, Clone)]
pub(crate) struct Basis {
    catalog: Arc<Catalog>,
    warmed: BTreeSet<(ServiceId, SocketAddr)>,
    refusals: Arc<BTreeSet<(ServiceId, SocketAddr)>>,
    occupied: Arc<Holders>,
    nodes: Arc<Holders>,
}

impl Basis {
    /// Gives the basis; `None` where what was applied last had a say.
    pub(super) fn of(
        desired: &Desired,
        catalog: &Arc<Catalog>,
        snapshots: &Snapshots<'_>,
        nodes: &Arc<Holders>,
    ) -> Option<Self> {
        // What holds on from the disk is either not read or refused.
        let read = |service: &Arc<DesiredService>| service.complete;
        let plain = desired.services.values().all(read);
        plain.then(|| Self {
            catalog: Arc::clone(catalog),
            warmed: snapshots.warmed.clone(),
            refusals: Arc::clone(snapshots.refusals),
            occupied: Arc::clone(snapshots.occupied),
            nodes: Arc::clone(nodes),
        })
    }
}

/// Makes [`desired`], and says which of it may differ from `before`, which the same `policy` made.
pub fn renew(before: Desired, snapshots: &Snapshots<'_>, policy: &Policy) -> (Desired, Scope) {
    match renewed(before, snapshots, policy) {
        Some((desired, ids)) => (desired, Scope::Only(ids)),
        None => (desired(snapshots, policy), Scope::Whole),
    }
}

fn renewed(
    mut before: Desired,
    snapshots: &Snapshots<'_>,
    policy: &Policy,
) -> Option<(Desired, BTreeSet<ServiceId>)> {
    let (basis, catalog) = (before.basis.take()?, snapshots.catalog?);
    if !same_fleet(&before, snapshots.fleet) || basis.occupied != *snapshots.occupied {
        return None;
    }
    let mut anew = Renewal {
        names: changed(&basis.catalog, catalog)?,
        ids: BTreeSet::new(),
    };
    let trials = basis.warmed.symmetric_difference(snapshots.warmed);
    let refusals = basis.refusals.symmetric_difference(snapshots.refusals);
    let trials = trials.chain(refusals).map(|(id, _)| *id);
    let ids: BTreeSet<ServiceId> = trials.chain(hinted(&before, snapshots.hints)).collect();
    for id in ids {
        if let Some(service) = before.services.get(&id) {
            anew.ids.insert(id);
            // What it asks for is as it was; only what is known of its instances is not.
            anew.names.entry(Arc::clone(&service.name)).or_default();
        }
    }
    let grounds = Grounds {
        policy,
        occupied: snapshots.occupied,
        nodes: &basis.nodes,
        last: snapshots.last,
    };
    anew.decide(&mut before, &basis, snapshots, &grounds)?;
    before.hints.clone_from(snapshots.hints);
    before.basis = Some(Basis {
        catalog: Arc::clone(catalog),
        warmed: snapshots.warmed.clone(),
        refusals: Arc::clone(snapshots.refusals),
        ..basis
    });
    Some((before, anew.ids))
}

/// How a catalogue entry differs from what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Entry {
    #[default]
    Same,
    Changed,
}

/// What is decided anew.
struct Renewal {
    names: BTreeMap<Arc<str>, Entry>,
    ids: BTreeSet<ServiceId>,
}

impl Renewal {
    /// Decides these services anew; `None` where one of them does not decide alone any more.
    fn decide(
        &mut self,
        desired: &mut Desired,
        basis: &Basis,
        snapshots: &Snapshots<'_>,
        grounds: &Grounds<'_>,
    ) -> Option<()> {
        let catalog = snapshots.catalog?;
        for (name, entry) in &self.names {
            let block = grounds.policy.services.get(name);
            let Some((name, service)) = catalog.services.get_key_value(name) else {
                continue;
            };
            let of_service = grounds.of_service(name, service, block);
            if *entry == Entry::Changed {
                let was = basis.catalog.services.get(name)?;
                let was = grounds.of_service(name, was, block);
                let vips = |of: &OfService<'_>| -> Vec<VipPolicy> {
                    of.claims.iter().map(|claim| claim.vip).collect()
                };
                if vips(&was) != vips(&of_service) {
                    return None;
                }
            }
            let had = |saved: &SavedService| saved.name == *name;
            if !of_service.refused.is_empty() && grounds.last.iter().any(had) {
                return None;
            }
            let mut rejected: Vec<(Arc<str>, Rejected)> = of_service
                .rejected
                .into_iter()
                .map(|why| (Arc::clone(name), why))
                .collect();
            for claim in of_service.claims {
                let id = claim.vip.id;
                let current = desired.services.get_mut(&id)?;
                let anew = service_of(claim, snapshots, grounds.policy, &mut rejected);
                if **current != anew {
                    self.ids.insert(id);
                    *current = Arc::new(anew);
                }
                if is_looped(desired.services.get(&id)?, desired, grounds.policy) {
                    return None;
                }
            }
            replace(&mut desired.rejected, name, rejected);
        }
        Some(())
    }
}

/// Replaces the rejections of one service. All are in order.
fn replace(
    all: &mut Vec<(Arc<str>, Rejected)>,
    name: &Arc<str>,
    mut anew: Vec<(Arc<str>, Rejected)>,
) {
    let from = all.partition_point(|(other, _)| other < name);
    let to = all.partition_point(|(other, _)| other <= name);
    anew.sort_by(by_service_and_reason);
    all.splice(from..to, anew);
}

fn same_fleet(before: &Desired, now: FleetView<'_>) -> bool {
    match (&before.fleet, now) {
        (Some(before), FleetView::Known(now)) => Arc::ptr_eq(before, now),
        (None, FleetView::Awaited) => before.awaited,
        (None, FleetView::Absent) => !before.awaited,
        (Some(_), FleetView::Awaited | FleetView::Absent) | (None, FleetView::Known(_)) => false,
    }
}

/// Lists the services whose instances changed; `None` if anything else did.
fn changed(before: &Catalog, now: &Catalog) -> Option<BTreeMap<Arc<str>, Entry>> {
    let read = !now.unlisted && now.unread.is_empty();
    if !read || before.services.len() != now.services.len() {
        return None;
    }
    let mut names = BTreeMap::new();
    for ((name, was), (other, is)) in before.services.iter().zip(&now.services) {
        if !Arc::ptr_eq(name, other) && name != other {
            return None;
        }
        if Arc::ptr_eq(was, is) {
            continue;
        }
        if was.hosts != is.hosts {
            return None;
        }
        names.insert(Arc::clone(other), Entry::Changed);
    }
    Some(names)
}

/// Lists the virtual services about whose instances drivers give other hints than before.
fn hinted<'a>(before: &'a Desired, hints: &'a HintPhases) -> impl Iterator<Item = ServiceId> + 'a {
    let differs = |address: &&SocketAddr| before.hints.get(address) != hints.get(address);
    let addresses: BTreeSet<SocketAddr> = before
        .hints
        .keys()
        .chain(hints.keys())
        .filter(differs)
        .copied()
        .collect();
    let is_hinted = move |service: &DesiredService| {
        let endpoints = &service.endpoints;
        addresses.iter().any(|address| {
            let at = endpoints.binary_search_by_key(address, |endpoint| endpoint.address);
            at.is_ok()
        })
    };
    let services = before.services.iter();
    services
        .filter(move |(_, service)| is_hinted(service))
        .map(|(id, _)| *id)
}

/// Whether an instance of the service is itself a VIP.
fn is_looped(anew: &DesiredService, all: &Desired, policy: &Policy) -> bool {
    let addresses = anew.endpoints.iter().map(|endpoint| endpoint.address.ip());
    let mut owned = addresses.filter(|address| policy.ownership.contains(*address));
    owned.any(|address| all.services.keys().any(|id| id.vip() == Some(address)))
}
