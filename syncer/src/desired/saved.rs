//! The table as it was applied last, from the disk: what is known while the sources have not been read. Pure.

use std::sync::Arc;

use ipvs::{Forwarding, RealServer, ServiceId, ServiceSettings};
use serde::{Deserialize, Serialize};

use super::{Declared, Desired, DesiredService, Endpoint, Want};
use crate::model::policy::{Policy, VipPolicy};

/// A virtual service as it was applied, for the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedService {
    pub name: Arc<str>,
    pub id: ServiceId,
    pub settings: ServiceSettings,
    pub forwarding: Forwarding,
    pub snat: bool,
    pub reals: Vec<RealServer>,
}

impl SavedService {
    pub(super) fn policy(&self) -> VipPolicy {
        let Self {
            id,
            settings,
            forwarding,
            snat,
            ..
        } = *self;
        VipPolicy {
            id,
            settings,
            forwarding,
            snat,
            drain: None,
        }
    }

    /// Its real servers, as they may be put back where the kernel has nothing of the service.
    pub(super) fn endpoints(&self) -> Vec<Endpoint> {
        let endpoint = |real: &RealServer| Endpoint {
            address: real.address,
            want: if real.weight.serves() {
                Want::Serve(real.weight)
            } else {
                Want::Keep
            },
            phase: None,
            health: None,
            alloc: None,
            held: false,
        };
        let mut endpoints: Vec<Endpoint> = self.reals.iter().map(endpoint).collect();
        endpoints.sort_by_key(|endpoint| endpoint.address);
        endpoints.dedup_by_key(|endpoint| endpoint.address);
        endpoints
    }
}

/// All of it, while the catalogue has not been read: it adds what is missing and takes nothing away.
pub(super) fn from_disk(last: &[SavedService], policy: &Policy) -> Desired {
    let mut desired = Desired::default();
    for saved in last.iter().filter(|saved| policy.ownership.owns(&saved.id)) {
        let service = DesiredService {
            name: Arc::clone(&saved.name),
            settings: saved.settings,
            forwarding: saved.forwarding,
            snat: saved.snat,
            drain: policy.drain,
            declared: Declared::Disk,
            complete: false,
            endpoints: saved.endpoints(),
        };
        desired.services.insert(saved.id, service);
    }
    desired
}
