//! What becomes of instances that do not get what they ask for: they keep what they had. Pure.
//!
//! A real server that serves goes on under the VIP where it does. Where no instance of a service gets anything, all of
//! them stand behind the one VIP that the service had: so that a new version with a bad tag does not leave the VIP empty.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipvs::ServiceId;

use super::{Claim, Grounds};
use crate::desired::members::{Members, Refusal};
use crate::desired::{Declared, SavedService};
use crate::model::catalog::Instance;

/// Adds claims that hold on to the others, which are in order of VIP; says whether there was any.
pub(super) fn hold<'a>(
    claims: &mut Vec<Claim<'a>>,
    refusals: &BTreeMap<&'a Arc<str>, Vec<Refusal<'a>>>,
    grounds: &Grounds<'a>,
) -> bool {
    let mut held = false;
    for (name, refused) in refusals {
        let had = |saved: &&SavedService| {
            saved.name == **name && saved.is_had(grounds.policy, grounds.occupied)
        };
        let had: Vec<&SavedService> = grounds.last.iter().filter(had).collect();
        if had.is_empty() {
            continue;
        }
        let granted = claims.iter().any(|claim| claim.name == *name);
        let mut kept: BTreeMap<ServiceId, (&SavedService, Vec<&Instance>)> = BTreeMap::new();
        for Refusal { instance, .. } in refused {
            let serves = |saved: &&&SavedService| {
                let mut reals = saved.reals.iter();
                reals.any(|real| real.address == instance.address && real.weight.serves())
            };
            let only = || had.first().filter(|_| had.len() == 1 && !granted);
            if let Some(saved) = had.iter().find(serves).or_else(only) {
                let entry = kept.entry(saved.id);
                entry.or_insert((saved, Vec::new())).1.push(instance);
            }
        }
        for (id, (saved, instances)) in kept {
            held |= keep(claims, name, id, saved, instances);
        }
    }
    held
}

fn keep<'a>(
    claims: &mut Vec<Claim<'a>>,
    name: &'a Arc<str>,
    id: ServiceId,
    saved: &SavedService,
    instances: Vec<&'a Instance>,
) -> bool {
    match claims.binary_search_by_key(&id, |claim| claim.vip.id) {
        Ok(at) => {
            let Some(claim) = claims.get_mut(at).filter(|claim| claim.name == name) else {
                return false;
            };
            claim.members = claim
                .members
                .as_ref()
                .map(|members| members.with(instances));
        }
        Err(at) => {
            let none = Members::Some(Vec::new());
            let claim = Claim {
                name,
                vip: saved.policy(),
                declared: Declared::Disk,
                members: Some(none.with(instances)),
                saved: None,
            };
            claims.insert(at, claim);
        }
    }
    true
}
