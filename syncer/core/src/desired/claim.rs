//! Which service gets which VIP: the config file first, then tags. Pure.
//!
//! A VIP is one service's, and nobody else's address. Of two services that ask for it by their tags the one that has it
//! keeps it: whoever writes tags must not take over what serves. A tag that went bad, or asks for what it can't have,
//! takes nothing down either: the policy that was applied last holds on ([`hold`]).

mod hold;

use std::collections::BTreeMap;
use std::sync::Arc;

use ipvs::ServiceId;

use super::members::{Asks, Members, Refusal, refuse, sentences};
use super::occupied::{Holder, Holders};
use super::{Declared, SavedService, SavedTable};
use crate::model::catalog::{Catalog, CatalogService};
use crate::model::policy::{Policy, Rejected, ServiceBlock, VipPolicy};

/// A service and a VIP that it gets.
#[derive(Debug, Clone)]
pub(super) struct Claim<'a> {
    pub(super) name: &'a Arc<str>,
    pub(super) vip: VipPolicy,
    pub(super) declared: Declared,
    /// `None`: the catalogue has not been read for it.
    pub(super) members: Option<Members<'a>>,
    /// The service as it was applied last, for what has not been read.
    pub(super) saved: Option<&'a SavedService>,
}

/// All claims that are granted.
#[derive(Debug, Default)]
pub(super) struct Grants<'a> {
    /// Claims in order of VIP, none twice.
    pub(super) claims: Vec<Claim<'a>>,
    /// Whether another service, or what was applied last, had a say in one of them.
    pub(super) entangled: bool,
}

/// What decides about a claim beside the service itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grounds<'a> {
    pub(super) policy: &'a Policy,
    pub(super) occupied: &'a Holders,
    pub(super) nodes: &'a Holders,
    pub(super) last: &'a SavedTable,
}

/// What one service is granted, as far as no other asks for the same.
#[derive(Debug, Default)]
pub(super) struct OfService<'a> {
    pub(super) claims: Vec<Claim<'a>>,
    /// Instances that do not get what they ask for, and may keep what they had.
    pub(super) refused: Vec<Refusal<'a>>,
    pub(super) rejected: Vec<Rejected>,
}

impl<'a> Grounds<'a> {
    /// Says whether a service can have that VIP; why not, or what is odd about it.
    fn judge(&self, vip: &VipPolicy) -> Result<Option<Rejected>, Rejected> {
        if !self.policy.ownership.owns(&vip.id) {
            return Err(outside(vip));
        }
        if vip.snat && matches!(vip.id, ServiceId::Mark { .. }) {
            // Rules know connections by address and port.
            let why = format!("{} is a firewall mark; SNAT is for an address", vip.id);
            return Err(Rejected::because(why));
        }
        let Some(ip) = vip.id.vip() else {
            return Ok(None);
        };
        let is_taken = |holder: &Holder| Rejected::because(format!("{ip} is {holder}"));
        if let Some(holder) = self.occupied.get(&ip) {
            return Err(is_taken(holder));
        }
        match self.nodes.get(&ip) {
            Some(holder) if self.holds(&vip.id) => Ok(Some(Rejected::because(format!(
                "{ip} is {holder}, too; {} is kept, for it was there first, and one of the two has to go",
                vip.id
            )))),
            Some(holder) => Err(is_taken(holder)),
            None => Ok(None),
        }
    }

    fn holds(&self, id: &ServiceId) -> bool {
        self.last.get(id).is_some_and(|saved| !saved.leaving)
    }

    /// Decides what one service that was read asks for and gets.
    pub(super) fn of_service(
        &self,
        name: &'a Arc<str>,
        service: &'a CatalogService,
        block: Option<&'a ServiceBlock>,
    ) -> OfService<'a> {
        let (asks, declared) = match block {
            Some(block) => (Asks::of_block(block, service), Declared::Config),
            None => (Asks::of_tags(service), Declared::Tags),
        };
        let all = service.instances.len();
        let mut of_service = OfService {
            refused: asks.refused,
            rejected: sentences(&asks.named, 0),
            ..OfService::default()
        };
        for (vip, members) in asks.groups {
            match self.judge(&vip) {
                Ok(odd) => {
                    of_service.rejected.extend(odd);
                    of_service.claims.push(Claim {
                        name,
                        vip,
                        declared,
                        members: Some(members),
                        saved: None,
                    });
                }
                Err(why) if block.is_some() => of_service.rejected.push(why),
                Err(why) => {
                    let members = members.iter();
                    of_service.refused.extend(refuse(members, &why.reason));
                }
            }
        }
        let refusals = sentences(&of_service.refused, all);
        of_service.rejected.extend(refusals);
        of_service
    }
}

/// Grants claims. The reasons why others are not granted go to `rejected`.
pub(super) fn claims<'a>(
    catalog: &'a Catalog,
    grounds: &Grounds<'a>,
    rejected: &mut Vec<(Arc<str>, Rejected)>,
) -> Grants<'a> {
    let mut grants = Grants {
        claims: Vec::with_capacity(catalog.services.len()),
        entangled: false,
    };
    let mut refusals: BTreeMap<&Arc<str>, Vec<Refusal<'_>>> = BTreeMap::new();
    // Both are in order of name; looking each name up would cost more than all the rest.
    let mut blocks = grounds.policy.services.iter().peekable();
    for (name, service) in &catalog.services {
        while let Some(block) = blocks.next_if(|(other, _)| *other < name) {
            absent(&mut grants.claims, block, grounds, rejected);
        }
        let block = blocks.next_if(|(other, _)| *other == name);
        let of_service = grounds.of_service(name, service, block.map(|(_, block)| block));
        grants.claims.extend(of_service.claims);
        let named = of_service.rejected.into_iter();
        rejected.extend(named.map(|why| (Arc::clone(name), why)));
        if !of_service.refused.is_empty() {
            refusals.insert(name, of_service.refused);
        }
    }
    for block in blocks {
        absent(&mut grants.claims, block, grounds, rejected);
    }
    unread(&mut grants.claims, catalog, grounds);
    // Stable: of one VIP, claims are in order of name but for those that nothing was read of.
    grants
        .claims
        .sort_by_key(|claim| (claim.vip.id, claim.declared != Declared::Config));
    let losers = settle(&mut grants.claims, grounds.last, rejected);
    grants.entangled = !losers.is_empty();
    for (loser, why) in losers {
        if loser.declared == Declared::Tags {
            let members = loser.members.iter().flat_map(Members::iter);
            let lost = refuse(members, &why.reason);
            refusals.entry(loser.name).or_default().extend(lost);
        }
    }
    grants.entangled |= hold::hold(&mut grants.claims, &refusals, grounds);
    grants
}

/// Adds the claims of a service of the config file that the catalogue does not have, or has not read.
fn absent<'a>(
    claims: &mut Vec<Claim<'a>>,
    (name, block): (&'a Arc<str>, &'a ServiceBlock),
    grounds: &Grounds<'a>,
    rejected: &mut Vec<(Arc<str>, Rejected)>,
) {
    for vip in &block.vips {
        match grounds.judge(vip) {
            Ok(odd) => {
                rejected.extend(odd.map(|why| (Arc::clone(name), why)));
                claims.push(Claim {
                    name,
                    vip: *vip,
                    declared: Declared::Config,
                    members: None,
                    saved: grounds.last.get(&vip.id),
                });
            }
            Err(why) => rejected.push((Arc::clone(name), why)),
        }
    }
}

/// Adds the claims of services that had their VIP from tags, and whose tags nobody could read yet.
fn unread<'a>(claims: &mut Vec<Claim<'a>>, catalog: &Catalog, grounds: &Grounds<'a>) {
    if !catalog.unlisted && catalog.unread.is_empty() {
        return;
    }
    let unread = grounds.last.iter().filter(|saved| {
        let read = catalog.services.contains_key(&saved.name);
        let configured = grounds.policy.services.contains_key(&saved.name);
        let may_be = catalog.unlisted || catalog.unread.contains(&saved.name);
        may_be && !read && !configured && saved.is_had(grounds.policy, grounds.occupied)
    });
    claims.extend(unread.map(|saved| Claim {
        name: &saved.name,
        vip: saved.policy(),
        declared: Declared::Disk,
        members: None,
        saved: Some(saved),
    }));
}

/// Leaves one claim for each VIP, and gives back those that lost, with the reason. `claims` are in order of VIP.
fn settle<'a>(
    claims: &mut Vec<Claim<'a>>,
    last: &SavedTable,
    rejected: &mut Vec<(Arc<str>, Rejected)>,
) -> Vec<(Claim<'a>, Rejected)> {
    let mut losers = Vec::new();
    let contested = |pair: &[Claim<'_>]| matches!(pair, [a, b] if a.vip.id == b.vip.id);
    if !claims.windows(2).any(contested) {
        return losers;
    }
    let mut grants: Vec<Claim<'a>> = Vec::with_capacity(claims.len());
    for claim in claims.drain(..) {
        let Some(holder) = grants
            .last_mut()
            .filter(|holder| holder.vip.id == claim.vip.id)
        else {
            grants.push(claim);
            continue;
        };
        let incumbent = |claim: &Claim<'_>| {
            let had = last.get(&claim.vip.id);
            let is_its = |saved: &SavedService| saved.name == *claim.name && !saved.leaving;
            claim.declared != Declared::Config && had.is_some_and(is_its)
        };
        let takes = holder.declared != Declared::Config && !incumbent(holder) && incumbent(&claim);
        let loser = if takes {
            std::mem::replace(holder, claim)
        } else {
            claim
        };
        let why = format!("{} is taken by service {}", loser.vip.id, holder.name);
        let why = Rejected::because(why);
        rejected.push((Arc::clone(loser.name), why.clone()));
        losers.push((loser, why));
    }
    *claims = grants;
    losers
}

fn outside(vip: &VipPolicy) -> Rejected {
    Rejected::because(format!(
        "{} is outside the ranges that director.own gives us",
        vip.id
    ))
}
