//! What the connection tracker knows of flows, forgotten where it would lead packets astray.
//!
//! A flow keeps for its life what was decided about its first packet. TCP tries again from another port; whoever sends datagrams from one
//! port again and again would be led astray for as long as he does.

mod message;
mod tracker;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipvs::{Protocol, ServiceId};

use super::DataPlaneError;
use crate::error::chain;
use message::Flow;
use tracker::Tracker;

pub use tracker::TrackerError;

/// States of a TCP connection as the kernel numbers them.
const SYN_SENT: u8 = 1;
const SYN_RECEIVED: u8 = 2;
const ESTABLISHED: u8 = 3;

/// Forgets the flows of this virtual service to this real server, and those that nothing has rewritten: by direct routing they may be its
/// own, and the others lose nothing. Never more.
pub async fn forget_of(id: &ServiceId, real: SocketAddr) -> Result<(), TrackerError> {
    let ServiceId::Address { protocol, address } = *id else {
        return Ok(());
    };
    // A live one beside it, on the same node, keeps its flows.
    let is_of = move |flow: &Flow| {
        is_to(flow, protocol, address) && [real, address].contains(&flow.reply.source)
    };
    forget(address.ip(), is_of).await
}

/// Forgets flows to these VIPs of which nobody has answered the first packet; one outcome a VIP. An answer that does not come back this
/// way is none.
pub async fn forget_unanswered(vips: &[IpAddr]) -> Vec<Result<(), DataPlaneError>> {
    let (v4, v6) = vips.iter().copied().partition(IpAddr::is_ipv4);
    let failed = [unanswered(v4).await, unanswered(v6).await];
    let outcome = |vip: &IpAddr| match &failed[usize::from(vip.is_ipv6())] {
        Err(why) => Err(DataPlaneError::Unforgotten(Arc::clone(why))),
        Ok(()) => Ok(()),
    };
    vips.iter().map(outcome).collect()
}

/// Same, for VIPs of one family.
async fn unanswered(vips: BTreeSet<IpAddr>) -> Result<(), Arc<str>> {
    let Some(first) = vips.first().copied() else {
        return Ok(());
    };
    let is_unanswered = move |flow: &Flow| {
        let waits = flow.is_of(Protocol::Tcp) && flow.tcp_state == Some(SYN_SENT)
            || flow.is_of(Protocol::Udp) && !flow.is_answered;
        waits && vips.contains(&flow.original.destination.ip())
    };
    let forgotten = forget(first, is_unanswered).await;
    forgotten.map_err(|error| chain(&error).into())
}

/// Forgets flows to these virtual services that lead to no real server: their first packets came before there was a rule.
pub async fn forget_unled(ids: Vec<ServiceId>) -> Result<(), TrackerError> {
    let of = |id: &ServiceId| match *id {
        ServiceId::Address { protocol, address } => Some((protocol, address)),
        ServiceId::Mark { .. } => None,
    };
    let services: Vec<(Protocol, SocketAddr)> = ids.iter().filter_map(of).collect();
    for is_v4 in [true, false] {
        let of_family = |(_, address): &&(Protocol, SocketAddr)| address.is_ipv4() == is_v4;
        let services: Vec<_> = services.iter().filter(of_family).copied().collect();
        let Some((_, first)) = services.first().copied() else {
            continue;
        };
        let is_unled = move |flow: &Flow| {
            let is_to =
                |(protocol, address): &(Protocol, SocketAddr)| is_to(flow, *protocol, *address);
            flow.reply.source == flow.original.destination && services.iter().any(is_to)
        };
        forget(first.ip(), is_unled).await?;
    }
    Ok(())
}

/// Forgets what datagrams to a host port lead to that is not the container behind it, and what was sent from its address and port: an
/// earlier container's late answers made flows there, and an own one is tracked anew with its next datagram.
pub async fn forget_strays(ports: Vec<(SocketAddr, SocketAddr)>) -> Result<(), TrackerError> {
    let Some((first, _)) = ports.first().copied() else {
        return Ok(());
    };
    let is_stray = move |flow: &Flow| {
        let leads_astray = |(host, own): &(SocketAddr, SocketAddr)| {
            flow.original.destination == *host && flow.reply.source != *own
                || flow.original.source == *own
        };
        flow.is_of(Protocol::Udp) && ports.iter().any(leads_astray)
    };
    forget(first.ip(), is_stray).await
}

/// Whether a TCP connection to the VIP that this real server has may still carry a request or an answer. UDP has none: its flows are
/// forgotten.
pub async fn has_open(id: &ServiceId, real: SocketAddr) -> Result<bool, TrackerError> {
    let ServiceId::Address { protocol, address } = *id else {
        return Ok(false);
    };
    if protocol != Protocol::Tcp {
        return Ok(false);
    }
    let open = [SYN_SENT, SYN_RECEIVED, ESTABLISHED].map(Some);
    let is_open = move |flow: &Flow| {
        is_to(flow, protocol, address)
            && flow.reply.source == real
            && open.contains(&flow.tcp_state)
    };
    ask(move |tracker| Ok(!tracker.flows(address.ip(), is_open)?.is_empty())).await
}

fn is_to(flow: &Flow, protocol: Protocol, address: SocketAddr) -> bool {
    flow.is_of(protocol) && flow.original.destination == address
}

async fn forget(
    family_of: IpAddr,
    which: impl Fn(&Flow) -> bool + Send + 'static,
) -> Result<(), TrackerError> {
    ask(move |tracker| {
        let flows = tracker.flows(family_of, which)?;
        tracker.forget(&flows)
    })
    .await
}

async fn ask<T: Send + 'static>(
    question: impl FnOnce(&mut Tracker) -> Result<T, TrackerError> + Send + 'static,
) -> Result<T, TrackerError> {
    let asked = tokio::task::spawn_blocking(|| question(&mut Tracker::open()?));
    asked.await.unwrap_or(Err(TrackerError::Ended))
}
