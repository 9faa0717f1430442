//! One instance's real server: the rule, and what the rule alone does not know. Pure.

use std::net::SocketAddr;

use ipvs::{Protocol, ServiceId, Weight};

use super::{FleetView, Snapshots, rule};
use crate::model::AllocId;
use crate::model::catalog::{Health, Instance};
use crate::model::fleet::Phase;

/// What a real server should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// There, with that weight.
    Serve(Weight),
    /// The same once it takes a connection; until then none if new, and whatever it has if it serves already.
    Warm(Weight),
    /// None if new, weight 0 if known; connections are kept.
    Quiesce,
    /// Weight 0, then gone once idle or at the deadline.
    Drain,
    /// Gone at once.
    Remove,
    /// None if new, untouched if known: somebody who should know has not said.
    Keep,
}

/// One endpoint of a virtual service, and what was known when its [`Want`] was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    pub address: SocketAddr,
    pub want: Want,
    pub phase: Option<Phase>,
    pub health: Option<Health>,
    pub alloc: Option<AllocId>,
    /// The shrink guard keeps it although the catalogue lost it.
    pub held: bool,
}

impl Endpoint {
    /// Of two opinions about one address the livelier one counts, then the one of whom Nomad knows.
    pub(super) fn precedence(&self) -> (u8, bool, u32) {
        let (rank, weight) = match self.want {
            Want::Serve(weight) => (5, weight.get()),
            Want::Warm(weight) => (4, weight.get()),
            Want::Keep => (3, 0),
            Want::Quiesce => (2, 0),
            Want::Drain => (1, 0),
            Want::Remove => (0, 0),
        };
        (rank, self.phase.is_some(), weight)
    }
}

pub(super) fn endpoint(
    instance: &Instance,
    service: &ServiceId,
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
    if let Want::Serve(weight) = want
        && (!instance.checked || !known)
        && service.protocol() == Some(Protocol::Tcp)
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
