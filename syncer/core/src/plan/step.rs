//! One thing to do. What a kind of step means is said in one file an aspect; this one lists the kinds.
//!
//! ```text
//! order ─▶ Around::{first, between, last}   which steps of an aspect a plan needs, and when
//! gate  ─▶ Act::{is_let, fail}              what rests on a step, and what a step rests on
//! pass  ─▶ Act::{reflect, doubt}            what is there after it, and what nobody knows after it failed
//! ```
//!
//! Another kind is a file here and its lines in [`Step`]; how it is done is the data plane's.

mod address;
mod flow;
mod ipvs;
mod nat;
mod sysctl;

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ::ipvs::{Command, ServiceId, Table};

use super::gate::Gate;
use super::{Observed, SnatSet, Sysctl};
use crate::desired::Desired;
use crate::reading::Reading;

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    SetSysctl(Sysctl),
    /// Rewrite clients' addresses for exactly these virtual services.
    SetSnat(SnatSet),
    AddVip(IpAddr),
    RemoveVip(IpAddr),
    Ipvs(Command),
    /// Forget what the connection tracker knows of a virtual service's flows to a removed real server.
    ForgetFlows(ServiceId, SocketAddr),
    /// Forget what the connection tracker knows of connections and flows to a VIP that nobody has answered yet.
    ForgetUnanswered(IpAddr),
}

/// What a kind of step means to those that plan it, hold it back, and reflect it.
pub(crate) trait Act: fmt::Display {
    /// The virtual service that it is about.
    fn service(&self) -> Option<ServiceId> {
        None
    }

    /// Whether nothing but the real servers of one virtual service is changed by it.
    fn is_of_one_real(&self) -> bool {
        false
    }

    /// Changes the mirror to what there is after the step; false where that is not sure.
    fn reflect(&self, mirror: &mut Reading) -> bool;

    /// Takes out of the mirror what nobody knows after the step failed; says whether all has to be read again.
    fn doubt(&self, _mirror: &mut Reading) -> bool {
        false
    }

    /// Notes that the step failed, or that it was not done because it would have failed.
    fn fail(&self, _gate: &mut Gate, _table: &Table) {}

    /// Whether the step may be done after what has failed.
    fn is_let(&self, _gate: &mut Gate, _desired: &Desired, _table: &Table) -> bool {
        true
    }
}

impl Step {
    /// Asks the kind of the step.
    fn with<T>(&self, act: impl FnOnce(&dyn Act) -> T) -> T {
        match self {
            Self::SetSysctl(sysctl) => act(&sysctl::Set(sysctl)),
            Self::SetSnat(services) => act(&nat::Set(services)),
            Self::AddVip(vip) => act(&address::Add(*vip)),
            Self::RemoveVip(vip) => act(&address::Remove(*vip)),
            Self::Ipvs(command) => act(command),
            Self::ForgetFlows(id, real) => act(&flow::Forget(*id, *real)),
            Self::ForgetUnanswered(vip) => act(&flow::ForgetUnanswered(*vip)),
        }
    }

    /// The virtual service that it is about.
    pub(super) fn service(&self) -> Option<ServiceId> {
        self.with(|act| act.service())
    }

    /// Whether nothing but the real servers of one virtual service is changed by it.
    pub(super) fn is_of_one_real(&self) -> bool {
        self.with(|act| act.is_of_one_real())
    }

    /// Changes the mirror to what there is after the step; false where that is not sure.
    #[must_use]
    pub fn reflect(&self, mirror: &mut Reading) -> bool {
        self.with(|act| act.reflect(mirror))
    }

    /// Takes out of the mirror what nobody knows after the step failed; says whether all has to be read again.
    #[must_use]
    pub(crate) fn doubt(&self, mirror: &mut Reading) -> bool {
        self.with(|act| act.doubt(mirror))
    }

    pub(super) fn fail(&self, gate: &mut Gate, table: &Table) {
        self.with(|act| act.fail(gate, table));
    }

    pub(super) fn is_let(&self, gate: &mut Gate, desired: &Desired, table: &Table) -> bool {
        self.with(|act| act.is_let(gate, desired, table))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with(|act| act.fmt(f))
    }
}

/// What a whole plan is made from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whole<'a> {
    pub(super) desired: &'a Desired,
    pub(super) observed: &'a Observed<'a>,
    /// Virtual services that should not be and still are after this plan.
    pub(super) lingering: &'a BTreeSet<ServiceId>,
}

/// The steps of one aspect that belong to all virtual services together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Around {
    /// Before virtual services come.
    pub(super) first: fn(&Whole<'_>) -> Vec<Step>,
    /// Between what comes and what goes in its place.
    pub(super) between: fn(&Whole<'_>) -> Vec<Step>,
    /// After all else.
    pub(super) last: fn(&Whole<'_>) -> Vec<Step>,
}

impl Around {
    const NOTHING: Self = Self {
        first: |_| Vec::new(),
        between: |_| Vec::new(),
        last: |_| Vec::new(),
    };

    /// In the order in which packets need them. A connection keeps the SNAT decision of its first packet: rules have to be
    /// there before the service is.
    pub(super) const ALL: [Self; 4] = [sysctl::AROUND, nat::AROUND, address::AROUND, flow::AROUND];
}

#[cfg(test)]
mod tests;
