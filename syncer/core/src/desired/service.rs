//! One virtual service as it should be: its instances as endpoints, and what its safeguards make of them. Pure.

use std::sync::Arc;

use ipvs::{Family, Weight};

use super::claim::Claim;
use super::members::Members;
use super::{DesiredService, Endpoint, SavedService, Snapshots, Want, doubt, endpoint};
use crate::model::policy::{Policy, Rejected, VipPolicy};

/// Where weights are raised in steps, a weight of 1 has this many of them.
pub(crate) const RAMP_STEPS: u32 = 10;

pub(super) fn service(
    claim: Claim<'_>,
    snapshots: &Snapshots<'_>,
    policy: &Policy,
    rejected: &mut Vec<(Arc<str>, Rejected)>,
) -> DesiredService {
    let Claim {
        name,
        vip,
        declared,
        members,
        saved,
    } = claim;
    let mut endpoints = match &members {
        Some(members) => {
            let mut refuse = |why| rejected.push((Arc::clone(name), why));
            let mut endpoints = endpoints(members, &vip, snapshots, &mut refuse);
            doubt::resolve(&mut endpoints, members, &vip, snapshots);
            endpoints
        }
        None => saved.map(SavedService::endpoints).unwrap_or_default(),
    };
    if members.is_some() {
        scale(&mut endpoints, &vip);
        substitute(&mut endpoints, &vip);
    }
    DesiredService {
        name: Arc::clone(name),
        settings: vip.settings,
        forwarding: vip.forwarding,
        snat: vip.snat,
        drain: vip.drain.unwrap_or(policy.drain),
        safeguards: vip.safeguards,
        declared,
        complete: members.is_some(),
        endpoints,
    }
}

/// Endpoints in order of address, none twice.
fn endpoints(
    members: &Members<'_>,
    vip: &VipPolicy,
    snapshots: &Snapshots<'_>,
    refuse: &mut impl FnMut(Rejected),
) -> Vec<Endpoint> {
    let mut endpoints: Vec<Endpoint> = Vec::with_capacity(members.len());
    for instance in members.iter() {
        if Family::of(&instance.address.ip()) != vip.id.family() {
            refuse(Rejected::because(format!(
                "instance {} is not of the VIP's address family",
                instance.address
            )));
            continue;
        }
        let endpoint = endpoint::endpoint(instance, &vip.id, vip.forwarding, snapshots);
        match endpoints.last_mut() {
            // Two registrations of one address are one real server: a leftover does not speak for who lives there now.
            Some(last) if last.address == endpoint.address => {
                if endpoint.precedence() > last.precedence() {
                    *last = endpoint;
                }
            }
            _ => endpoints.push(endpoint),
        }
    }
    endpoints
}

/// Multiplies all weights where they are raised in steps: of a weight of 1 there is no part.
fn scale(endpoints: &mut [Endpoint], vip: &VipPolicy) {
    if vip.safeguards.slow_start.is_none() {
        return;
    }
    for endpoint in endpoints {
        if let Want::Serve(weight) | Want::Warm(weight) | Want::Doubt(weight) = &mut endpoint.want {
            *weight = Weight::saturating(weight.get().saturating_mul(RAMP_STEPS));
        }
    }
}

/// Adds the sorry server, unless it is one of the instances.
fn substitute(endpoints: &mut Vec<Endpoint>, vip: &VipPolicy) {
    let Some(address) = vip.safeguards.sorry_server else {
        return;
    };
    if let Err(at) = endpoints.binary_search_by_key(&address, |endpoint| endpoint.address) {
        let sorry = Endpoint {
            address,
            want: Want::Substitute,
            phase: None,
            health: None,
            alloc: None,
            held: false,
        };
        endpoints.insert(at, sorry);
    }
}
