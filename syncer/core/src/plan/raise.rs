//! Which weight a real server gets that shall have more than it has: in steps where its service asks for a slow start. Pure.

use std::net::SocketAddr;

use ipvs::{ServiceId, VirtualService, Weight};

use super::merge::Merge;
use super::ramp::Ramp;
use crate::desired::DesiredService;

impl Merge<'_> {
    /// The weight of a real server that shall have the weight `full`, and has `current`. Where no other serves it is full at once: there
    /// is nothing to spare it.
    pub(super) fn ramped(
        &mut self,
        id: &ServiceId,
        wanted: &DesiredService,
        address: SocketAddr,
        current: Weight,
        full: Weight,
    ) -> Weight {
        let Some(time) = wanted.safeguards.slow_start else {
            return full;
        };
        if current >= full || !self.has_company(id, address) {
            return full;
        }
        let key = (*id, address);
        let ramp = Ramp::of(self.observed.ramps.get(&key), current, self.now);
        let (weight, next) = ramp.weight(full, time, self.now);
        if let Some(at) = next {
            self.open.insert(*id);
            self.ramps.insert(key, ramp);
            self.wake(at);
        }
        weight
    }

    fn has_company(&self, id: &ServiceId, address: SocketAddr) -> bool {
        let reals = self.observed.table.get(id).map(VirtualService::reals);
        let mut reals = reals.unwrap_or_default().iter();
        reals.any(|real| real.address != address && real.weight.serves())
    }
}
