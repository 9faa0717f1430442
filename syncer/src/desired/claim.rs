//! Which service gets which VIP: the config file first, then tags. Pure.
//!
//! A VIP is one service's. Of two that ask for it by their tags the one that has it keeps it: whoever writes tags must not
//! take over what serves. A tag that went bad, or asks for what it can't have, takes nothing down either: the policy
//! that was applied last holds on.

use std::sync::Arc;

use super::{Declared, SavedService};
use crate::model::catalog::{Catalog, CatalogService, Instance};
use crate::model::policy::{Policy, Rejected, VipPolicy};

/// A service and the VIP that it gets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim<'a> {
    pub(super) name: &'a Arc<str>,
    pub(super) vip: VipPolicy,
    pub(super) declared: Declared,
    /// `None`: not read yet.
    pub(super) instances: Option<&'a [Instance]>,
    /// As it was applied last, for what has not been read.
    pub(super) saved: Option<&'a SavedService>,
}

/// All that are granted, in order of VIP, none twice. Why others are not goes to `rejected`.
pub(super) fn claims<'a>(
    catalog: &'a Catalog,
    last: &'a [SavedService],
    policy: &'a Policy,
    rejected: &mut Vec<(Arc<str>, Rejected)>,
) -> Vec<Claim<'a>> {
    let mut claims = Vec::with_capacity(catalog.services.len());
    configured(&mut claims, catalog, last, policy, rejected);
    tagged(&mut claims, catalog, last, policy, rejected);
    unread(&mut claims, catalog, last, policy);
    // Stable: what comes from the config file stays before what comes from tags.
    claims.sort_by_key(|claim| claim.vip.id);
    let losers = settle(&mut claims, last, rejected);
    for loser in losers {
        let before = saved(last, loser.name).map(SavedService::policy);
        let Some(vip) = before.filter(|vip| policy.ownership.owns(&vip.id)) else {
            continue;
        };
        if let Err(at) = claims.binary_search_by_key(&vip.id, |claim| claim.vip.id) {
            let declared = Declared::Disk;
            claims.insert(
                at,
                Claim {
                    vip,
                    declared,
                    ..loser
                },
            );
        }
    }
    claims
}

fn configured<'a>(
    claims: &mut Vec<Claim<'a>>,
    catalog: &'a Catalog,
    last: &'a [SavedService],
    policy: &'a Policy,
    rejected: &mut Vec<(Arc<str>, Rejected)>,
) {
    // Both are in order of name; looking each name up would cost more than all the rest.
    let mut known = catalog.services.iter().peekable();
    for (name, vip) in &policy.services {
        while known.next_if(|(other, _)| *other < name).is_some() {}
        let service = known.next_if(|(other, _)| *other == name);
        if !policy.ownership.owns(&vip.id) {
            rejected.push((Arc::clone(name), outside(vip)));
            continue;
        }
        let instances = service.map(|(_, service)| service.instances.as_slice());
        let of_vip = |saved: &&SavedService| saved.id == vip.id;
        claims.push(Claim {
            name,
            vip: *vip,
            declared: Declared::Config,
            instances,
            saved: instances
                .is_none()
                .then(|| last.iter().find(of_vip))
                .flatten(),
        });
    }
}

fn tagged<'a>(
    claims: &mut Vec<Claim<'a>>,
    catalog: &'a Catalog,
    last: &'a [SavedService],
    policy: &Policy,
    rejected: &mut Vec<(Arc<str>, Rejected)>,
) {
    let asks = |(name, service): (&'a Arc<str>, &'a Arc<CatalogService>)| {
        let tagged = service.tagged.as_ref()?;
        Some((name, service, tagged))
    };
    for (name, service, tagged) in catalog.services.iter().filter_map(asks) {
        if policy.services.contains_key(name) {
            continue;
        }
        let owned = |vip: &VipPolicy| policy.ownership.owns(&vip.id);
        let asked = match tagged {
            Ok(vip) if owned(vip) => Ok(*vip),
            Ok(vip) => Err(outside(vip)),
            Err(rejected) => Err(rejected.clone()),
        };
        let (vip, declared) = match asked {
            Ok(vip) => (vip, Declared::Tags),
            Err(why) => {
                rejected.push((Arc::clone(name), why));
                let before = saved(last, name).map(SavedService::policy);
                let Some(vip) = before.filter(owned) else {
                    continue;
                };
                (vip, Declared::Disk)
            }
        };
        claims.push(Claim {
            name,
            vip,
            declared,
            instances: Some(&service.instances),
            saved: None,
        });
    }
}

/// Services that had their VIP from tags, and whose tags nobody could read yet.
fn unread<'a>(
    claims: &mut Vec<Claim<'a>>,
    catalog: &Catalog,
    last: &'a [SavedService],
    policy: &Policy,
) {
    if !catalog.unlisted && catalog.unread.is_empty() {
        return;
    }
    let unread = last.iter().filter(|saved| {
        let read = catalog.services.contains_key(&saved.name);
        let configured = policy.services.contains_key(&saved.name);
        let may_be = catalog.unlisted || catalog.unread.contains(&saved.name);
        may_be && !read && !configured && policy.ownership.owns(&saved.id)
    });
    claims.extend(unread.map(|saved| Claim {
        name: &saved.name,
        vip: saved.policy(),
        declared: Declared::Disk,
        instances: None,
        saved: Some(saved),
    }));
}

/// Leaves one claim for each VIP; those that lost are told so and given back. `claims` are in order of VIP.
fn settle<'a>(
    claims: &mut Vec<Claim<'a>>,
    last: &[SavedService],
    rejected: &mut Vec<(Arc<str>, Rejected)>,
) -> Vec<Claim<'a>> {
    let mut losers = Vec::new();
    let contested = |pair: &[Claim<'_>]| matches!(pair, [a, b] if a.vip.id == b.vip.id);
    if !claims.windows(2).any(contested) {
        return losers;
    }
    let mut granted: Vec<Claim<'a>> = Vec::with_capacity(claims.len());
    for claim in claims.drain(..) {
        let Some(holder) = granted
            .last_mut()
            .filter(|holder| holder.vip.id == claim.vip.id)
        else {
            granted.push(claim);
            continue;
        };
        let incumbent = |claim: &Claim<'_>| {
            let has = |saved: &SavedService| saved.id == claim.vip.id && saved.name == *claim.name;
            claim.declared != Declared::Config && last.iter().any(has)
        };
        let takes = holder.declared != Declared::Config && !incumbent(holder) && incumbent(&claim);
        let loser = if takes {
            std::mem::replace(holder, claim)
        } else {
            claim
        };
        let reason = format!("{} is taken by service {}", loser.vip.id, holder.name);
        rejected.push((Arc::clone(loser.name), Rejected::because(reason)));
        losers.push(loser);
    }
    *claims = granted;
    losers.retain(|loser| loser.declared == Declared::Tags);
    losers
}

fn saved<'a>(last: &'a [SavedService], name: &Arc<str>) -> Option<&'a SavedService> {
    last.iter().find(|saved| saved.name == *name)
}

fn outside(vip: &VipPolicy) -> Rejected {
    Rejected::because(format!(
        "{} is outside the ranges that director.own gives us",
        vip.id
    ))
}
