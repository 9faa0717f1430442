//! What the connection tracker knows of flows, where it has to be forgotten.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ::ipvs::{Protocol, ServiceId};

use super::{Act, Around, Step, Whole, address, nat};
use crate::reading::Reading;

/// Flows of a virtual service to a real server.
pub(super) struct Forget(pub(super) ServiceId, pub(super) SocketAddr);

/// Connections and flows to a VIP that nobody has answered yet.
pub(super) struct ForgetUnanswered(pub(super) IpAddr);

impl fmt::Display for Forget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "forget flows {} -> {}", self.0, self.1)
    }
}

impl fmt::Display for ForgetUnanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "forget unanswered connections to {}", self.0)
    }
}

impl Act for Forget {
    fn service(&self) -> Option<ServiceId> {
        Some(self.0)
    }

    fn is_of_one_real(&self) -> bool {
        true
    }

    fn reflect(&self, _: &mut Reading) -> bool {
        true
    }
}

impl Act for ForgetUnanswered {
    fn reflect(&self, _: &mut Reading) -> bool {
        true
    }
}

pub(super) const AROUND: Around = Around {
    between: unanswered,
    ..Around::NOTHING
};

/// What was sent to a VIP before it was here, or while its rules were not, is tracked without SNAT: whoever tries again
/// from the same port, or still tries, would be sent on without it. So is a datagram to a VIP that is here for another virtual service,
/// where TCP refuses.
fn unanswered(whole: &Whole<'_>) -> Vec<Step> {
    let (missing, observed) = (address::missing(whole), whole.observed);
    let widened = observed.snat_lost.then(|| nat::Change::of(whole).widen);
    let widened = widened.flatten().unwrap_or_default();
    let is_set = |id: &ServiceId| observed.snat.is_some_and(|current| current.contains(id));
    let rewritten = whole
        .desired
        .services
        .iter()
        .filter(|(_, service)| service.snat);
    let vips = rewritten.filter_map(|(id, _)| {
        let vip = id.vip()?;
        let comes_back = widened.contains(id) && !is_set(id);
        let is_new = id.protocol() == Some(Protocol::Udp) && observed.table.get(id).is_none();
        (comes_back || is_new || missing.binary_search(&vip).is_ok()).then_some(vip)
    });
    let vips: BTreeSet<IpAddr> = vips.collect();
    vips.into_iter().map(Step::ForgetUnanswered).collect()
}
