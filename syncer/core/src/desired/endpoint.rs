//! One instance's real server: the rule, and what the rule alone does not know. Pure.

use std::net::SocketAddr;

use ipvs::{Forwarding, Protocol, ServiceId, Weight};

use super::{FleetView, Snapshots, rule};
use crate::model::AllocId;
use crate::model::catalog::{Health, Instance};
use crate::model::fleet::Phase;

/// What a real server should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// It is there, with that weight.
    Serve(Weight),
    /// The same, once it has passed its trial: it takes a connection, or, where answers by-pass the director, its node takes
    /// packets to the VIP. Until then a new one is not added, and one that serves keeps its weight.
    Warm(Weight),
    /// Its check is not believed: a known one serves, once it has passed a trial where it has weight 0 now; a new one is not added.
    Doubt(Weight),
    /// A new one is not added, a known one gets weight 0; connections are kept.
    Quiesce,
    /// It gets weight 0, and goes once it is idle or at the deadline.
    Drain,
    /// It goes at once.
    Remove,
    /// A new one is not added, a known one is not touched: a source that should know has not said.
    Keep,
    /// It serves while no other does, and drains when one comes: a sorry server.
    Substitute,
}

/// One endpoint of a virtual service, and what was known when its [`Want`] was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    pub address: SocketAddr,
    pub want: Want,
    pub phase: Option<Phase>,
    pub health: Option<Health>,
    pub alloc: Option<AllocId>,
    /// Whether the shrink guard keeps it although the catalogue lost it.
    pub held: bool,
}

impl Endpoint {
    /// Of two opinions about one address the livelier one counts, then the one of whom Nomad knows.
    pub(super) fn precedence(&self) -> (u8, bool, u32) {
        let (rank, weight) = match self.want {
            Want::Serve(weight) => (5, weight.get()),
            Want::Warm(weight) | Want::Doubt(weight) => (4, weight.get()),
            Want::Keep => (3, 0),
            Want::Quiesce => (2, 0),
            Want::Drain => (1, 0),
            Want::Remove | Want::Substitute => (0, 0),
        };
        (rank, self.phase.is_some(), weight)
    }
}

pub(super) fn endpoint(
    instance: &Instance,
    service: &ServiceId,
    forwarding: Forwarding,
    snapshots: &Snapshots<'_>,
) -> Endpoint {
    let alloc = instance.origin.as_ref().map(|origin| origin.alloc);
    let (phase, known) = match (alloc, snapshots.fleet) {
        (Some(id), FleetView::Known(fleet)) => {
            let phase = fleet.phase(id, instance.address);
            (phase, phase.is_some())
        }
        _ => (None, alloc.is_none()),
    };
    let phase = snapshots.hints.get(&instance.address).copied().or(phase);
    let mut want = rule::want(phase, Some(rule::Facts::of(instance)));
    if forwarding.keeps_vip()
        && matches!(want, Want::Serve(_))
        && snapshots.refusals.contains(&(*service, instance.address))
    {
        // Packets that are sent there all the same come back, or are lost.
        want = Want::Quiesce;
    }
    if let Want::Serve(weight) = want
        // Whatever its checks say, where those do not go by way of the VIP.
        && (forwarding.keeps_vip()
            || (!instance.checked || !known) && service.protocol() == Some(Protocol::Tcp))
        && !snapshots.warmed.contains(&(*service, instance.address))
    {
        want = Want::Warm(weight);
    }
    if alloc.is_some() && matches!(snapshots.fleet, FleetView::Awaited) {
        want = Want::Keep;
    }
    Endpoint {
        address: instance.address,
        want,
        phase,
        health: Some(instance.health),
        alloc,
        held: false,
    }
}
