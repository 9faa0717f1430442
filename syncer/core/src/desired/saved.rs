//! The table as it was applied last, from the disk: what is known while the sources have not been read. Pure.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use imbl::OrdMap;
use ipvs::{Forwarding, RealServer, ServiceId, ServiceSettings, Table, VirtualService};
use serde::{Deserialize, Serialize, Serializer};

use super::occupied::Holders;
use super::{Declared, Desired, DesiredService, Endpoint, Scope, Want};
use crate::model::policy::{Policy, VipPolicy};
use crate::model::safeguard::Safeguards;

/// A virtual service as it was applied, for the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedService {
    pub name: Arc<str>,
    pub id: ServiceId,
    pub settings: ServiceSettings,
    pub forwarding: Forwarding,
    pub snat: bool,
    /// The drain time that was in force; it holds for real servers that leave after the service's end.
    #[serde(default)]
    pub drain: Option<Duration>,
    #[serde(default)]
    pub safeguards: Safeguards,
    /// Whether nobody wants it any more, and it is still in the table.
    #[serde(default)]
    pub leaving: bool,
    /// Real servers, shared with the table that they were taken from.
    pub reals: Arc<Vec<RealServer>>,
}

impl SavedService {
    fn of(id: ServiceId, wanted: &DesiredService, reals: Arc<Vec<RealServer>>) -> Self {
        Self {
            name: Arc::clone(&wanted.name),
            id,
            settings: wanted.settings,
            forwarding: wanted.forwarding,
            snat: wanted.snat,
            drain: Some(wanted.drain),
            safeguards: wanted.safeguards,
            leaving: false,
            reals,
        }
    }

    /// Whether [`SavedService::of`] would be the same.
    fn is_as(&self, wanted: &DesiredService, reals: &[RealServer]) -> bool {
        self.name == wanted.name
            && self.settings == wanted.settings
            && self.forwarding == wanted.forwarding
            && self.snat == wanted.snat
            && self.drain == Some(wanted.drain)
            && self.safeguards == wanted.safeguards
            && !self.leaving
            && *self.reals == reals
    }

    fn leaving(&self, reals: Arc<Vec<RealServer>>) -> Self {
        Self {
            leaving: true,
            reals,
            ..self.clone()
        }
    }

    pub(super) fn policy(&self) -> VipPolicy {
        let Self {
            id,
            settings,
            forwarding,
            snat,
            drain,
            safeguards,
            ..
        } = *self;
        VipPolicy {
            id,
            settings,
            forwarding,
            snat,
            drain,
            safeguards,
        }
    }

    /// Gives its real server at that address.
    pub(crate) fn real(&self, address: SocketAddr) -> Option<&RealServer> {
        self.reals.iter().find(|real| real.address == address)
    }

    /// Whether its service had that VIP until now and may keep it.
    pub(super) fn is_had(&self, policy: &Policy, occupied: &Holders) -> bool {
        let free = |ip| !occupied.contains_key(&ip);
        !self.leaving && policy.ownership.owns(&self.id) && self.id.vip().is_none_or(free)
    }

    /// Gives its real servers as they may be put back where the kernel has nothing of the service.
    pub(super) fn endpoints(&self) -> Vec<Endpoint> {
        let endpoint = |real: &RealServer| Endpoint {
            address: real.address,
            // One that goes by another method than its service's needs a node that says so, unless it is masquerade.
            want: if real.weight.serves()
                && [self.forwarding, Forwarding::Masquerade].contains(&real.forwarding)
            {
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

/// All virtual services as they were applied last. A copy shares whatever is the same; on disk it is a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Vec<SavedService>")]
pub struct SavedTable(OrdMap<ServiceId, Arc<SavedService>>);

impl SavedTable {
    /// Gives that virtual service.
    pub fn get(&self, id: &ServiceId) -> Option<&SavedService> {
        self.0.get(id).map(|service| &**service)
    }

    /// Lists all of them, in order of identity.
    pub fn iter(&self) -> impl Iterator<Item = &SavedService> {
        self.0.values().map(|service| &**service)
    }

    /// Renews the services in `scope`: what should be, as the table has it. Those that still leave stay.
    pub fn renew(&mut self, scope: &Scope, desired: &Desired, table: &Table) {
        match scope {
            Scope::Only(ids) => self.renew_each(ids.iter(), desired, table),
            Scope::Whole => {
                let mut ids: BTreeSet<ServiceId> = self.0.keys().copied().collect();
                ids.extend(desired.services.keys());
                self.renew_each(ids.iter(), desired, table);
            }
        }
    }

    fn renew_each<'a>(
        &mut self,
        ids: impl Iterator<Item = &'a ServiceId>,
        desired: &Desired,
        table: &Table,
    ) {
        for id in ids {
            let (before, wanted) = (self.get(id), desired.services.get(id));
            let reals = table.get(id).map(VirtualService::shared_reals);
            match (wanted, before, reals) {
                (Some(wanted), before, reals) => {
                    let reals = as_applied(before, wanted, reals.unwrap_or_default());
                    if !before.is_some_and(|before| before.is_as(wanted, &reals)) {
                        let service = SavedService::of(*id, wanted, reals);
                        self.0.insert(*id, Arc::new(service));
                    }
                }
                (None, Some(before), Some(reals)) => {
                    if !before.leaving || before.reals != reals {
                        let service = before.leaving(reals);
                        self.0.insert(*id, Arc::new(service));
                    }
                }
                // Nobody wants it, and the table has it not.
                (None, _, _) => drop(self.0.remove(id)),
            }
        }
    }
}

/// Real servers as they were applied: a method that is neither the earlier nor the service's is another hand's, and not kept.
fn as_applied(
    before: Option<&SavedService>,
    wanted: &DesiredService,
    reals: Arc<Vec<RealServer>>,
) -> Arc<Vec<RealServer>> {
    let earlier = |real: &RealServer| {
        let earlier = before?.real(real.address)?.forwarding;
        let is_foreign = real.forwarding != earlier && real.forwarding != wanted.forwarding;
        is_foreign.then_some(earlier)
    };
    if reals.iter().all(|real| earlier(real).is_none()) {
        return reals;
    }
    let own = reals.iter().map(|real| RealServer {
        forwarding: earlier(real).unwrap_or(real.forwarding),
        ..*real
    });
    Arc::new(own.collect())
}

impl FromIterator<SavedService> for SavedTable {
    fn from_iter<I: IntoIterator<Item = SavedService>>(services: I) -> Self {
        let services = services.into_iter();
        Self(
            services
                .map(|service| (service.id, Arc::new(service)))
                .collect(),
        )
    }
}

impl From<Vec<SavedService>> for SavedTable {
    fn from(services: Vec<SavedService>) -> Self {
        services.into_iter().collect()
    }
}

impl Serialize for SavedTable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

/// All of it, while the catalogue has not been read: it adds what is missing and takes nothing away.
pub(super) fn from_disk(last: &SavedTable, occupied: &Holders, policy: &Policy) -> Desired {
    let mut desired = Desired::default();
    let had = |saved: &&SavedService| saved.is_had(policy, occupied);
    for saved in last.iter().filter(had) {
        let service = DesiredService {
            name: Arc::clone(&saved.name),
            settings: saved.settings,
            forwarding: saved.forwarding,
            snat: saved.snat,
            drain: saved.drain.unwrap_or(policy.drain),
            safeguards: saved.safeguards,
            declared: Declared::Disk,
            complete: false,
            endpoints: saved.endpoints(),
        };
        desired.services.insert(saved.id, Arc::new(service));
    }
    desired
}
