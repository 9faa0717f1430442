//! When checks are not believed: fewer instances are healthy than a service says is possible. Pure.
//!
//! A check that fails everywhere at once speaks of the check, of what all instances need, or of a busy machine; to send
//! nobody anywhere makes none of these better. Below the service's least share of healthy instances those that are critical serve
//! as well: one that serves goes on, one that was quiesced has to pass a trial first, and one that never served waits for its first
//! passing check as ever: it is new, and its check has said nothing that could be doubted. Whoever is in maintenance, stops, does not run, or is
//! on a node that Nomad has lost sight of stays out.

use ipvs::{Protocol, Weight};

use super::members::Members;
use super::{Endpoint, Snapshots, Want, endpoint};
use crate::model::catalog::{Health, Instance};
use crate::model::fleet::Phase;
use crate::model::policy::VipPolicy;

/// Has critical endpoints serve where too few are healthy.
pub(super) fn resolve(
    endpoints: &mut [Endpoint],
    members: &Members<'_>,
    vip: &VipPolicy,
    snapshots: &Snapshots<'_>,
) {
    let least = vip.safeguards.least_healthy;
    let serves = |endpoint: &&Endpoint| matches!(endpoint.want, Want::Serve(_) | Want::Warm(_));
    let healthy = endpoints.iter().filter(serves).count();
    // The usual case: whoever is critical, there can't be more of them than this.
    if !least.exceeds(healthy, endpoints.len()) {
        return;
    }
    let instances: Vec<&Instance> = members.iter().collect();
    let mut doubted = Vec::new();
    for (at, endpoint) in endpoints.iter().enumerate() {
        let believed = believed(endpoint, &instances, vip, snapshots);
        doubted.extend(believed.map(|weight| (at, weight)));
    }
    let all = healthy.saturating_add(doubted.len());
    if !least.exceeds(healthy, all) {
        return;
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
            _ => Want::Doubt(weight),
        };
    }
}

/// The weight that a critical endpoint would have if its checks passed; `None` if something else keeps it out.
fn believed(
    endpoint: &Endpoint,
    instances: &[&Instance],
    vip: &VipPolicy,
    snapshots: &Snapshots<'_>,
) -> Option<Weight> {
    let is_critical = endpoint.want == Want::Quiesce && endpoint.health == Some(Health::Critical);
    if !is_critical || endpoint.phase == Some(Phase::Unknown) {
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
