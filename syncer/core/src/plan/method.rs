//! Which forwarding method a real server has: the same for as long as it serves. Pure.
//!
//! IPVS keeps one route for each real server (`dest_dst` in net/netfilter/ipvs/ip_vs_xmit.c), as it was found for whichever connection
//! sent a packet first; one that was found for masquerade has no next hop. A connection by direct routing that meets it asks the link for
//! the VIP itself, where nobody answers. After a change under load that is what new connections met, until a route of the machine
//! changed. So a change of method is for real servers that are new, or that get nothing and have nothing open.

use ipvs::{Forwarding, RealServer, ServiceId};

use super::edit;
use super::merge::Merge;
use crate::desired::{DesiredService, Endpoint};

impl Merge<'_> {
    /// Gives the method that a real server shall have now: as it was applied last, for what differs from that somebody else has
    /// changed. Where nothing is known of the service, as it is.
    pub(super) fn method(
        &self,
        id: &ServiceId,
        wanted: &DesiredService,
        real: &RealServer,
    ) -> Forwarding {
        if real.forwarding == wanted.forwarding {
            return real.forwarding;
        }
        let method = match self.observed.applied.get(id) {
            None => real.forwarding,
            Some(service) => service
                .real(real.address)
                .map_or(wanted.forwarding, |real| real.forwarding),
        };
        // By direct routing its node lets nothing in while it has weight 0, and nobody asks it to for another method's sake.
        if !real.weight.serves() && method.keeps_vip() && !wanted.forwarding.keeps_vip() {
            return wanted.forwarding;
        }
        method
    }

    /// Gives the method by which an instance that is missing in the kernel served when it was applied last, where that is another than
    /// its service's and needs nobody's consent: masquerade.
    pub(super) fn lost_method(
        &self,
        id: &ServiceId,
        wanted: &DesiredService,
        endpoint: &Endpoint,
    ) -> Option<Forwarding> {
        if wanted.forwarding == Forwarding::Masquerade {
            return None;
        }
        let applied = self.observed.applied.get(id)?.real(endpoint.address)?;
        let served = applied.weight.serves() && applied.forwarding == Forwarding::Masquerade;
        served.then_some(applied.forwarding)
    }

    /// Has a real server that gets nothing and has nothing open go over to its service's method; says whether it does.
    pub(super) fn go_over(
        &mut self,
        id: &ServiceId,
        wanted: &DesiredService,
        real: &RealServer,
    ) -> bool {
        let connections = self.observed.connections.get(&(*id, real.address));
        let is_idle = connections.is_some_and(|connections| connections.idle());
        let goes = !real.weight.serves() && real.forwarding != wanted.forwarding && is_idle;
        if goes {
            self.open.insert(*id);
            let target = RealServer {
                forwarding: wanted.forwarding,
                ..*real
            };
            self.phases.lower.push(edit(id, target));
        }
        goes
    }
}
