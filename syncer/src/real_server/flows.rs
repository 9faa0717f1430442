//! What this node's connection tracker knows of flows to VIPs: asked whether it still matters, and forgotten where it leads astray.
//!
//! With direct routing the director can't tell two instances of a node apart, and counts a connection for either of them.

use std::net::SocketAddr;

use ipvs::{Protocol, ServiceId};
use tracing::warn;

use super::rules::Rules;
use crate::dataplane::flow;
use crate::error::chain;

/// The tracker keeps a UDP flow for as long as its client sends: forgets those to instances that take nothing any more, and those that
/// lead to none because they began before there was a rule.
pub(super) async fn forget_flows(before: Option<&Rules>, were_in_force: bool, now: &Rules) {
    let is_udp = |id: &&ServiceId| id.protocol() == Some(Protocol::Udp);
    let has_had = |id: &ServiceId| {
        were_in_force && before.is_some_and(|before| before.services.contains_key(id))
    };
    let new = now.services.keys().filter(is_udp);
    let new: Vec<ServiceId> = new.filter(|id| !has_had(id)).copied().collect();
    if !new.is_empty()
        && let Err(error) = flow::forget_unled(new).await
    {
        let error = chain(&error);
        warn!(error, "flows from before a VIP was taken are not forgotten");
    }
    for (id, places) in before.iter().flat_map(|before| &before.services) {
        if !is_udp(&id) {
            continue;
        }
        let stays = now.services.get(id).map(Vec::as_slice).unwrap_or_default();
        for (place, _) in places {
            if stays.iter().any(|(other, _)| other == place) {
                continue;
            }
            if let Err(error) = flow::forget_of(id, *place).await {
                let error = chain(&error);
                warn!(%id, %place, error, "flows to an instance that is gone are not forgotten");
            }
        }
    }
}

/// Whether a connection is open. Where nobody knows, what the director counts has to do, and offers are answered.
pub(super) async fn has_open(id: &ServiceId, place: SocketAddr) -> bool {
    let counted = flow::has_open(id, place).await;
    counted.unwrap_or_else(|error| {
        let error = chain(&error);
        warn!(%id, %place, error, "open connections are not counted");
        false
    })
}
