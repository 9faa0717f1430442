//! What becomes of a real server that should not serve. Pure.

use std::time::Duration;

use ipvs::{Command, Forwarding, Protocol, RealServer, ServiceId, VirtualService, Weight};

use super::drain::{COUNT_INTERVAL, Next};
use super::merge::Merge;
use super::{Step, edit};
use crate::desired::{DesiredService, Want};

/// How long a drain may take where no policy is known: the virtual service in our ranges is somebody else's.
const FORSAKEN_DRAIN: Duration = Duration::from_mins(1);

impl Merge<'_> {
    /// Plans for a real server that should not serve; says whether it is removed now.
    pub(super) fn leave(
        &mut self,
        id: &ServiceId,
        wanted: Option<&DesiredService>,
        real: &RealServer,
        want: Want,
    ) -> bool {
        self.open.insert(*id);
        let key = (*id, real.address);
        match want {
            // Weight 0 keeps flows, and nothing tells a UDP flow's end: they would go on while their client sends.
            Want::Quiesce if id.protocol() == Some(Protocol::Udp) => self.remove(id, real),
            Want::Quiesce => {
                if real.weight.serves() {
                    self.phases
                        .lower
                        .push(edit(id, real.with_weight(Weight::ZERO)));
                } else if let Some(wanted) = wanted {
                    self.go_over(id, wanted, real);
                }
                false
            }
            Want::Remove if !self.shares_node(id, real) => self.remove(id, real),
            Want::Drain | Want::Remove => {
                if want == Want::Drain && real.weight.serves() && self.bridges(id, wanted, real) {
                    return false;
                }
                // For the same reason.
                if id.protocol() == Some(Protocol::Udp) {
                    return self.remove(id, real);
                }
                let limit = match wanted {
                    Some(wanted) => wanted.drain,
                    None => self
                        .desired
                        .leaving
                        .get(id)
                        .copied()
                        .unwrap_or(FORSAKEN_DRAIN),
                };
                let connections = self.observed.connections.get(&key);
                let is_idle = connections.is_some_and(|connections| match want {
                    // Nobody is there who could end a connection in order.
                    Want::Remove => connections.active == 0,
                    _ => connections.idle(),
                });
                let drain =
                    match self
                        .drains
                        .next(&key, real.weight.serves(), is_idle, limit, self.now)
                    {
                        Next::Remove => return self.remove(id, real),
                        Next::Quiesce(drain) => {
                            self.phases
                                .lower
                                .push(edit(id, real.with_weight(Weight::ZERO)));
                            drain
                        }
                        Next::Wait(drain) => drain,
                    };
                self.kept.0.insert(key, drain);
                self.wake(drain.deadline.min(self.now.after(COUNT_INTERVAL)));
                false
            }
            Want::Keep | Want::Serve(_) | Want::Warm(_) | Want::Doubt(_) | Want::Substitute => {
                if let Some(drain) = self.drains.0.get(&key) {
                    self.kept.0.insert(key, *drain);
                }
                false
            }
        }
    }

    /// Whether another real server of its node serves. With direct routing the node shares connections out, and which of the
    /// two a connection counts for is a guess: to remove one at once would end connections of the other.
    fn shares_node(&self, id: &ServiceId, real: &RealServer) -> bool {
        let current = self.observed.table.get(id);
        let mut reals = current
            .map(VirtualService::reals)
            .unwrap_or_default()
            .iter();
        let same_node = |other: &RealServer| {
            other.address.ip() == real.address.ip() && other.address != real.address
        };
        real.forwarding == Forwarding::DirectRouting
            && id.protocol() != Some(Protocol::Udp)
            && reals.any(|other| same_node(other) && other.weight.serves())
    }

    /// Whether this real server has to serve on because no other does yet.
    pub(super) fn bridges(
        &self,
        id: &ServiceId,
        wanted: Option<&DesiredService>,
        real: &RealServer,
    ) -> bool {
        let Some(wanted) = wanted else { return false };
        let mut endpoints = wanted.endpoints.iter();
        self.desired.awaits_successor(real.address)
            && !endpoints.any(|endpoint| self.serves(id, endpoint))
    }

    fn remove(&mut self, id: &ServiceId, real: &RealServer) -> bool {
        self.phases
            .remove
            .push(Step::Ipvs(Command::RemoveReal(*id, real.address)));
        if id.protocol() == Some(Protocol::Udp) {
            self.phases
                .remove
                .push(Step::ForgetFlows(*id, real.address));
        }
        true
    }
}
