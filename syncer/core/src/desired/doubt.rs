//! When checks are not believed: fewer instances are healthy than a service says is possible. Pure.
//!
//! A check that fails everywhere at once speaks of the check, of what all instances need, or of a busy machine; to send
//! nobody anywhere makes none of these better. Below the service's least share of healthy instances those that are critical serve
//! as well: one that serves goes on, another has to pass a trial first. Whoever is in maintenance, stops or is not running stays out.

use ipvs::{Protocol, Weight};

use super::members::Members;
use super::{Endpoint, Snapshots, Want, endpoint};
use crate::model::catalog::{Health, Instance};
use crate::model::policy::{Rejected, VipPolicy};

/// Has critical endpoints serve where too few are healthy; gives the sentence for the operator then.
pub(super) fn resolve(
    endpoints: &mut [Endpoint],
    members: &Members<'_>,
    vip: &VipPolicy,
    snapshots: &Snapshots<'_>,
) -> Option<Rejected> {
    let least = vip.safeguards.least_healthy;
    let serves = |endpoint: &&Endpoint| matches!(endpoint.want, Want::Serve(_) | Want::Warm(_));
    let healthy = endpoints.iter().filter(serves).count();
    // The usual case: whoever is critical, there can't be more of them than this.
    if !least.exceeds(healthy, endpoints.len()) {
        return None;
    }
    let instances: Vec<&Instance> = members.iter().collect();
    let mut doubted = Vec::new();
    for (at, endpoint) in endpoints.iter().enumerate() {
        let believed = believed(endpoint, &instances, vip, snapshots);
        doubted.extend(believed.map(|weight| (at, weight)));
    }
    let all = healthy.saturating_add(doubted.len());
    if !least.exceeds(healthy, all) {
        return None;
    }
    for (at, weight) in doubted {
        let Some(endpoint) = endpoints.get_mut(at) else {
            continue;
        };
        let is_warm = snapshots.warmed.contains(&(vip.id, endpoint.address));
        endpoint.want = match vip.id.protocol() {
            _ if is_warm => Want::Serve(weight),
            // Nothing can try one out: whoever serves goes on.
            Some(Protocol::Udp) => Want::Keep,
            _ => Want::Warm(weight),
        };
    }
    Some(Rejected::because(format!(
        "checks are not believed: {healthy} of {all} instances are healthy, fewer than least_healthy ({least})"
    )))
}

/// The weight that a critical endpoint would have if its checks passed; `None` if something else keeps it out.
fn believed(
    endpoint: &Endpoint,
    instances: &[&Instance],
    vip: &VipPolicy,
    snapshots: &Snapshots<'_>,
) -> Option<Weight> {
    if endpoint.want != Want::Quiesce || endpoint.health != Some(Health::Critical) {
        return None;
    }
    let at = instances.partition_point(|instance| instance.address < endpoint.address);
    let instance = instances.get(at)?;
    let passing = Instance {
        health: Health::Passing,
        ..(*instance).clone()
    };
    let believed = endpoint::endpoint(&passing, &vip.id, vip.forwarding, snapshots);
    match believed.want {
        Want::Serve(weight) | Want::Warm(weight) => Some(weight),
        _ => None,
    }
}
