//! The table as it was applied last, from the disk: what is known while the sources have not been read. Pure.

use std::sync::Arc;
use std::time::Duration;

use ipvs::{Forwarding, RealServer, ServiceId, ServiceSettings, Table};
use serde::{Deserialize, Serialize};

use super::occupied::Occupied;
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
    /// What was in force; it holds for those that leave after the service's end.
    #[serde(default)]
    pub drain: Option<Duration>,
    /// Not wanted any more, and still in the table.
    #[serde(default)]
    pub leaving: bool,
    pub reals: Vec<RealServer>,
}

impl SavedService {
    pub(super) fn policy(&self) -> VipPolicy {
        let Self {
            id,
            settings,
            forwarding,
            snat,
            drain,
            ..
        } = *self;
        VipPolicy {
            id,
            settings,
            forwarding,
            snat,
            drain,
        }
    }

    /// Whether its service had that VIP until now and may have it on.
    pub(super) fn is_had(&self, policy: &Policy, occupied: &Occupied) -> bool {
        let free = |ip| !occupied.contains_key(&ip);
        !self.leaving && policy.ownership.owns(&self.id) && self.id.vip().is_none_or(free)
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

/// What to remember of what should be, as the table has it, after what was remembered: with those that still leave.
pub fn saved(desired: &Desired, table: &Table, before: &[SavedService]) -> Vec<SavedService> {
    let reals = |id: &ServiceId| {
        let there = table.get(id);
        there.map_or_else(Vec::new, |there| there.reals().to_vec())
    };
    let wanted = desired.services.iter().map(|(id, service)| SavedService {
        name: Arc::clone(&service.name),
        id: *id,
        settings: service.settings,
        forwarding: service.forwarding,
        snat: service.snat,
        drain: Some(service.drain),
        leaving: false,
        reals: reals(id),
    });
    let mut all: Vec<SavedService> = wanted.collect();
    let leaves = |saved: &&SavedService| {
        !desired.services.contains_key(&saved.id) && table.get(&saved.id).is_some()
    };
    let leaving = before.iter().filter(leaves).map(|saved| SavedService {
        leaving: true,
        reals: reals(&saved.id),
        ..saved.clone()
    });
    all.extend(leaving);
    all.sort_by_key(|saved| saved.id);
    all
}

/// All of it, while the catalogue has not been read: it adds what is missing and takes nothing away.
pub(super) fn from_disk(last: &[SavedService], occupied: &Occupied, policy: &Policy) -> Desired {
    let mut desired = Desired::default();
    let had = |saved: &&SavedService| saved.is_had(policy, occupied);
    for saved in last.iter().filter(had) {
        let service = DesiredService {
            name: Arc::clone(&saved.name),
            settings: saved.settings,
            forwarding: saved.forwarding,
            snat: saved.snat,
            drain: saved.drain.unwrap_or(policy.drain),
            declared: Declared::Disk,
            complete: false,
            endpoints: saved.endpoints(),
        };
        desired.services.insert(saved.id, service);
    }
    desired
}
