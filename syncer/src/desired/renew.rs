//! The same as [`desired`], from what it was before: only what differs is decided anew. Pure.
//!
//! Of ten thousand virtual services one has changed, as a rule, and a pass that looks at the others as well spends its time
//! on them. Sources hand on what did not change as it is (the same `Arc`), so that what did is found without looking into
//! the rest. Where more may differ than instances, hints and trials of single services (Nomad told something, a tag
//! changed, something was refused, held back or not read yet), all of it is decided anew.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use ipvs::ServiceId;

use super::claim::Claim;
use super::{Desired, DesiredService, FleetView, Hinted, Snapshots, desired, service};
use crate::model::catalog::{Catalog, CatalogService};
use crate::model::policy::{Policy, VipPolicy};

/// Which virtual services may differ from what they were, and with them everything else that may.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Scope {
    #[default]
    Whole,
    /// These and nothing else.
    Only(BTreeSet<ServiceId>),
}

impl Scope {
    /// What may differ by the one or by the other.
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
}

impl Basis {
    /// `None` where something else had a say: another service, or the table on disk.
    pub(super) fn of(
        desired: &Desired,
        catalog: &Arc<Catalog>,
        warmed: &BTreeSet<(ServiceId, SocketAddr)>,
    ) -> Option<Self> {
        // What holds on from the disk is either not read or refused.
        let read = |service: &DesiredService| service.complete;
        let plain = desired.rejected.is_empty() && desired.services.values().all(read);
        plain.then(|| Self {
            catalog: Arc::clone(catalog),
            warmed: warmed.clone(),
        })
    }
}

/// [`desired`], and which of it may not be as in `before`, which was made by the same `policy`.
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
    if !same_fleet(&before, snapshots.fleet) {
        return None;
    }
    let mut ids = changed(&basis.catalog, catalog, policy)?;
    let trials = basis.warmed.symmetric_difference(snapshots.warmed);
    ids.extend(trials.map(|(id, _)| *id));
    ids.extend(told_of(&before, snapshots.hints));
    ids.retain(|id| before.services.contains_key(id));
    for id in &ids {
        let anew = again(before.services.get(id)?, snapshots, policy, catalog)?;
        if is_looped(&anew, &before, policy) {
            return None;
        }
        before.services.insert(*id, anew);
    }
    before.hints.clone_from(snapshots.hints);
    before.basis = Some(Basis {
        catalog: Arc::clone(catalog),
        warmed: snapshots.warmed.clone(),
    });
    Some((before, ids))
}

fn same_fleet(before: &Desired, now: FleetView<'_>) -> bool {
    match (&before.fleet, now) {
        (Some(before), FleetView::Known(now)) => Arc::ptr_eq(before, now),
        (None, FleetView::Awaited) => before.awaited,
        (None, FleetView::Absent) => !before.awaited,
        (Some(_), FleetView::Awaited | FleetView::Absent) | (None, FleetView::Known(_)) => false,
    }
}

/// Those whose instances changed; `None` if anything else did.
fn changed(before: &Catalog, now: &Catalog, policy: &Policy) -> Option<BTreeSet<ServiceId>> {
    let read = !now.unlisted && now.unread.is_empty();
    if !read || before.services.len() != now.services.len() {
        return None;
    }
    let mut ids = BTreeSet::new();
    for ((name, was), (other, is)) in before.services.iter().zip(&now.services) {
        if !Arc::ptr_eq(name, other) && name != other {
            return None;
        }
        if Arc::ptr_eq(was, is) {
            continue;
        }
        if was.tagged != is.tagged {
            return None;
        }
        ids.extend(asked(name, is, policy).map(|vip| vip.id));
    }
    Some(ids)
}

/// Those of whose instances drivers tell something else than before.
fn told_of<'a>(before: &'a Desired, hints: &'a Hinted) -> impl Iterator<Item = ServiceId> + 'a {
    let differs = |address: &&SocketAddr| before.hints.get(address) != hints.get(address);
    let addresses: BTreeSet<SocketAddr> = before
        .hints
        .keys()
        .chain(hints.keys())
        .filter(differs)
        .copied()
        .collect();
    let told = move |service: &DesiredService| {
        let endpoints = &service.endpoints;
        addresses.iter().any(|address| {
            let at = endpoints.binary_search_by_key(address, |endpoint| endpoint.address);
            at.is_ok()
        })
    };
    let services = before.services.iter();
    services
        .filter(move |(_, service)| told(service))
        .map(|(id, _)| *id)
}

/// One service anew; `None` where it has no say alone any more.
fn again(
    there: &DesiredService,
    snapshots: &Snapshots<'_>,
    policy: &Policy,
    catalog: &Catalog,
) -> Option<DesiredService> {
    let (name, entry) = catalog.services.get_key_value(&there.name)?;
    let claim = Claim {
        name,
        vip: asked(name, entry, policy)?,
        declared: there.declared,
        instances: Some(&entry.instances),
        saved: None,
    };
    let mut rejected = Vec::new();
    let anew = service(claim, snapshots, policy, &mut rejected);
    rejected.is_empty().then_some(anew)
}

/// Whether an instance of it is itself a VIP.
fn is_looped(anew: &DesiredService, all: &Desired, policy: &Policy) -> bool {
    let addresses = anew.endpoints.iter().map(|endpoint| endpoint.address.ip());
    let mut owned = addresses.filter(|address| policy.ownership.contains(*address));
    owned.any(|address| all.services.keys().any(|id| id.vip() == Some(address)))
}

/// What the config file, or else its tags, give to a service.
fn asked(name: &Arc<str>, entry: &CatalogService, policy: &Policy) -> Option<VipPolicy> {
    let configured = policy.services.get(name).copied();
    configured.or_else(|| entry.tagged.as_ref()?.as_ref().ok().copied())
}
