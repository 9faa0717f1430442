//! What serves and the catalogue has no more, without Nomad's consent; and how it is kept. Pure.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use ipvs::{RealServer, ServiceId, ServiceSettings};

use super::{Evidence, Key};
use crate::desired::{Declared, Desired, DesiredService, Endpoint, SavedTable, Want};
use crate::model::AllocId;
use crate::model::catalog::Catalog;
use crate::model::fleet::Phase;
use crate::model::policy::{Policy, Rejected};

/// A real server that serves, and that the catalogue lost.
pub(super) struct Loss {
    pub(super) id: ServiceId,
    settings: ServiceSettings,
    pub(super) real: RealServer,
    /// What Nomad says of the real server.
    pub(super) phase: Option<Phase>,
}

impl Loss {
    pub(super) fn key(&self) -> Key {
        (self.id, self.real.address)
    }

    /// Puts the real server into `desired` as it is, under whatever service had it.
    pub(super) fn keep(&self, desired: &mut Desired, last: &SavedTable, policy: &Policy) {
        let saved = last.get(&self.id);
        let before = || {
            Arc::new(DesiredService {
                name: saved.map_or_else(
                    || Arc::from(self.id.to_string()),
                    |saved| Arc::clone(&saved.name),
                ),
                settings: self.settings,
                forwarding: saved.map_or(self.real.forwarding, |saved| saved.forwarding),
                snat: saved.is_some_and(|saved| saved.snat),
                drain: saved.and_then(|saved| saved.drain).unwrap_or(policy.drain),
                safeguards: saved.map(|saved| saved.safeguards).unwrap_or_default(),
                declared: Declared::Disk,
                complete: true,
                endpoints: Vec::new(),
            })
        };
        let service = desired.services.entry(self.id).or_insert_with(before);
        // Nobody's clients are sent to somebody else's servers: a new owner waits until the old one's loss is certain.
        if let Some(saved) = saved.filter(|saved| saved.name != service.name) {
            let why = format!(
                "{} is kept for {} until its loss is certain",
                self.id, saved.name
            );
            let owner = std::mem::replace(service, before());
            let owner = Arc::clone(&owner.name);
            desired.rejected.push((owner, Rejected::because(why)));
        }
        let endpoint = Endpoint {
            address: self.real.address,
            want: Want::Keep,
            phase: self.phase,
            health: None,
            alloc: None,
            held: true,
        };
        desired.basis = None;
        let endpoints = &mut Arc::make_mut(service).endpoints;
        if let Err(at) = endpoints.binary_search_by_key(&endpoint.address, |other| other.address) {
            endpoints.insert(at, endpoint);
        }
    }
}

/// Instances by address, with their allocations. What the catalogue still has somewhere asks for something else now, or
/// its virtual service has another owner: that is somebody's will and no loss.
struct Elsewhere(HashMap<SocketAddr, Vec<Option<AllocId>>>);

impl Elsewhere {
    fn of(catalog: Option<&Catalog>) -> Self {
        let mut all: HashMap<SocketAddr, Vec<Option<AllocId>>> = HashMap::new();
        let services = catalog.iter().flat_map(|catalog| catalog.services.values());
        for instance in services.flat_map(|service| &service.instances) {
            let alloc = instance.origin.as_ref().map(|origin| origin.alloc);
            all.entry(instance.address).or_default().push(alloc);
        }
        Self(all)
    }

    /// Whether the catalogue has elsewhere the very instance that Nomad runs there.
    fn has(&self, desired: &Desired, address: SocketAddr) -> bool {
        let fleet = desired.fleet.as_ref();
        let runs = fleet
            .and_then(|fleet| fleet.at(address))
            .map(|alloc| alloc.id);
        let elsewhere = self.0.get(&address);
        elsewhere.is_some_and(|allocs| runs.is_none() || allocs.contains(&runs))
    }
}

/// Whether the catalogue does not have it any more, without Nomad's consent.
pub(super) fn is_lost(desired: &Desired, id: &ServiceId, address: SocketAddr) -> bool {
    let service = desired.services.get(id);
    let is_listed = service.is_some_and(|service| {
        !service.complete
            || service
                .endpoints
                .binary_search_by_key(&address, |endpoint| endpoint.address)
                .is_ok()
    });
    !is_listed && unexplained(desired.fate(address))
}

fn unexplained((want, phase): (Want, Option<Phase>)) -> bool {
    want == Want::Drain && matches!(phase, None | Some(Phase::Running))
}

/// Lists serving real servers that the catalogue lost without Nomad's consent; says also how many serve in all.
pub(super) fn losses(
    desired: &Desired,
    evidence: &Evidence<'_>,
    policy: &Policy,
) -> (Vec<Loss>, usize) {
    let table = evidence.table;
    let mut elsewhere = None;
    let mut lost = Vec::new();
    let mut serving = 0;
    for (id, service) in table.iter().filter(|(id, _)| policy.ownership.owns(id)) {
        let wanted = desired.services.get(id);
        // The catalogue never had it; that it goes is the policy's will.
        let saved_sorry = evidence
            .last
            .get(id)
            .and_then(|saved| saved.safeguards.sorry_server);
        let unread = wanted.is_some_and(|wanted| !wanted.complete);
        let endpoints = wanted.map(|wanted| wanted.endpoints.as_slice());
        let mut endpoints = endpoints.unwrap_or_default().iter().peekable();
        for real in service.reals().iter().filter(|real| real.weight.serves()) {
            serving += 1;
            while endpoints
                .next_if(|endpoint| endpoint.address < real.address)
                .is_some()
            {}
            let is_sorry = saved_sorry == Some(real.address);
            let present = is_sorry
                || endpoints
                    .peek()
                    .is_some_and(|endpoint| endpoint.address == real.address);
            if present || unread {
                continue;
            }
            let fate = desired.fate(real.address);
            let mut is_elsewhere = || {
                let all = elsewhere.get_or_insert_with(|| Elsewhere::of(evidence.catalog));
                all.has(desired, real.address)
            };
            if unexplained(fate) && !is_elsewhere() {
                lost.push(Loss {
                    id: *id,
                    settings: service.settings,
                    real: *real,
                    phase: fate.1,
                });
            }
        }
    }
    (lost, serving)
}
