//! VIPs on the director's interface.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use ::ipvs::{ServiceId, Table};

use super::{Act, Around, Step, Whole};
use crate::desired::Desired;
use crate::plan::gate::Gate;
use crate::reading::{AddressKeeper, Reading};

pub(super) struct Add(pub(super) IpAddr);

pub(super) struct Remove(pub(super) IpAddr);

impl fmt::Display for Add {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "add address {}", self.0)
    }
}

impl fmt::Display for Remove {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "remove address {}", self.0)
    }
}

impl Act for Add {
    fn reflect(&self, mirror: &mut Reading) -> bool {
        mirror.addresses.present.insert(self.0);
        mirror.addresses.ours.insert(self.0);
        true
    }
}

impl Act for Remove {
    fn reflect(&self, mirror: &mut Reading) -> bool {
        mirror.addresses.present.remove(&self.0);
        mirror.addresses.ours.remove(&self.0);
        true
    }

    fn is_let(&self, gate: &mut Gate, _: &Desired, _: &Table) -> bool {
        gate.lets_go_of_address(self.0)
    }
}

pub(super) const AROUND: Around = Around {
    first: |whole| missing(whole).into_iter().map(Step::AddVip).collect(),
    last: |whole| unneeded(whole).into_iter().map(Step::RemoveVip).collect(),
    ..Around::NOTHING
};

/// VIPs that have to be there and are not, in order.
pub(super) fn missing(whole: &Whole<'_>) -> Vec<IpAddr> {
    let needed = needed(whole);
    let mut present = whole.observed.addresses.present.iter().peekable();
    let missing = needed.iter().copied().filter(|vip| {
        while present.next_if(|address| *address < vip).is_some() {}
        present.peek() != Some(&vip)
    });
    missing.collect()
}

/// Ours that nothing needs any more.
fn unneeded(whole: &Whole<'_>) -> Vec<IpAddr> {
    let addresses = whole.observed.addresses;
    if addresses.keeper == AddressKeeper::Others || !whole.desired.complete {
        return Vec::new();
    }
    let needed = needed(whole);
    let ours: BTreeSet<&IpAddr> = addresses.ours.intersection(&addresses.present).collect();
    let unneeded = ours
        .into_iter()
        .filter(|vip| needed.binary_search(vip).is_err());
    unneeded.copied().collect()
}

/// In order, none twice; none where others put VIPs on the interface.
fn needed(whole: &Whole<'_>) -> Vec<IpAddr> {
    if whole.observed.addresses.keeper == AddressKeeper::Others {
        return Vec::new();
    }
    let ids = whole.desired.services.keys().chain(whole.lingering);
    let mut vips: Vec<IpAddr> = ids.filter_map(ServiceId::vip).collect();
    vips.sort_unstable();
    vips.dedup();
    vips
}
