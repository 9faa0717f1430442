//! What the kernel's table should be, from what Nomad and Consul say. Pure.
//!
//! [`desired`] joins the snapshots: policies (config file, tags) give virtual services, the catalogue gives their
//! instances, the fleet gives each instance's allocation, and [`rule`] says what its real server should be. It does
//! not know what the kernel has; where a rule depends on that ("none if new, weight 0 if known") it says so with a
//! [`Want`] that [`crate::plan`] resolves.

pub mod rule;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipvs::{Family, Forwarding, Protocol, RealServer, ServiceId, ServiceSettings, Weight};
use serde::{Deserialize, Serialize};

use crate::model::AllocId;
use crate::model::catalog::{Catalog, CatalogService, Health, Instance};
use crate::model::fleet::{Fleet, Phase};
use crate::model::policy::{Policy, Rejected, VipPolicy};

/// What is known of Nomad.
#[derive(Debug, Clone, Copy)]
pub enum FleetView<'a> {
    /// Nomad is not configured, or could not be reached for so long that Consul alone has to do.
    Absent,
    /// Not read yet: nothing new is let in, nothing known is touched.
    Awaited,
    Known(&'a Arc<Fleet>),
}

/// Everything that a pass looks at.
#[derive(Debug, Clone, Copy)]
pub struct Snapshots<'a> {
    /// `None` until the catalogue has been read once in this process's life.
    pub catalog: Option<&'a Catalog>,
    pub fleet: FleetView<'a>,
    /// Endpoints that took one connection from the director.
    pub warmed: &'a BTreeSet<(ServiceId, SocketAddr)>,
    /// What was applied last, from the disk; used while `catalog` is `None`.
    pub last: &'a [SavedService],
    /// Phases that drivers told ahead of Nomad.
    pub hints: &'a Hinted,
}

/// Phases by host port, told by drivers.
pub type Hinted = BTreeMap<SocketAddr, Phase>;

/// What a real server should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// There, with that weight.
    Serve(Weight),
    /// The same once it takes a connection; until then none if new, and whatever it has if it serves already.
    Warm(Weight),
    /// None if new, weight 0 if known; connections are kept.
    Quiesce,
    /// Weight 0, then gone once idle or at the deadline.
    Drain,
    /// Gone at once.
    Remove,
    /// None if new, untouched if known: somebody who should know has not said.
    Keep,
}

/// One endpoint of a virtual service, and what was known when its [`Want`] was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    pub address: SocketAddr,
    pub want: Want,
    pub phase: Option<Phase>,
    pub health: Option<Health>,
    pub alloc: Option<AllocId>,
    /// The shrink guard keeps it although the catalogue lost it.
    pub held: bool,
}

impl Endpoint {
    /// Of two opinions about one address the livelier one counts, then the one of whom Nomad knows.
    fn precedence(&self) -> (u8, bool, u32) {
        let (rank, weight) = match self.want {
            Want::Serve(weight) => (5, weight.get()),
            Want::Warm(weight) => (4, weight.get()),
            Want::Keep => (3, 0),
            Want::Quiesce => (2, 0),
            Want::Drain => (1, 0),
            Want::Remove => (0, 0),
        };
        (rank, self.phase.is_some(), weight)
    }
}

/// One virtual service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredService {
    pub name: Arc<str>,
    pub settings: ServiceSettings,
    pub forwarding: Forwarding,
    pub snat: bool,
    pub drain: Duration,
    pub declared: Declared,
    /// In order of address, none twice.
    pub endpoints: Vec<Endpoint>,
}

/// Where a virtual service was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Declared {
    Config,
    Tags,
    /// The table on disk; its sources have not been read yet.
    Disk,
}

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
    fn policy(&self) -> VipPolicy {
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
}

/// The whole of what should be.
#[derive(Debug, Clone, Default)]
pub struct Desired {
    pub services: BTreeMap<ServiceId, DesiredService>,
    pub rejected: Vec<(Arc<str>, Rejected)>,
    /// Whether the sources have been read: if not, what is missing here may still exist, and nothing may be removed.
    pub complete: bool,
    /// Nomad's view, for the fate of what the catalogue has not.
    pub fleet: Option<Arc<Fleet>>,
    pub hints: Hinted,
}

impl Desired {
    /// What a real server should be that the kernel has and the catalogue has not.
    pub fn fate(&self, address: SocketAddr) -> (Want, Option<Phase>) {
        let phase = self.phase(address);
        (rule::want(phase, None), phase)
    }

    fn phase(&self, address: SocketAddr) -> Option<Phase> {
        let told = self.hints.get(&address).copied();
        told.or_else(|| {
            self.fleet
                .as_ref()?
                .at(address)
                .map(|alloc| alloc.phase(address))
        })
    }

    /// Whether the allocation at `address` is told to stop and another of its group is on its way: as long as nothing
    /// else serves, it serves on, for a service that shall have a usable real server never passes through zero.
    pub fn awaits_successor(&self, address: SocketAddr) -> bool {
        let Some(fleet) = &self.fleet else {
            return false;
        };
        let leaving = fleet
            .at(address)
            .filter(|_| self.phase(address) == Some(Phase::Stopping));
        leaving.is_some_and(|alloc| fleet.has_successor(alloc))
    }
}

/// What should be, given what is known.
pub fn desired(snapshots: &Snapshots<'_>, policy: &Policy) -> Desired {
    let Some(catalog) = snapshots.catalog else {
        return from_disk(snapshots.last, policy);
    };
    let mut desired = Desired {
        complete: true,
        hints: snapshots.hints.clone(),
        ..Desired::default()
    };
    if let FleetView::Known(fleet) = snapshots.fleet {
        desired.fleet = Some(Arc::clone(fleet));
    }
    let nothing = CatalogService::default();
    // Both are in order of name; looking each name up would cost more than all the rest.
    let mut known = catalog.services.iter().peekable();
    for (name, vip) in &policy.services {
        while known.next_if(|(other, _)| *other < name).is_some() {}
        let service = known.next_if(|(other, _)| *other == name);
        let service = service.map_or(&nothing, |(_, service)| service);
        add(
            &mut desired,
            name,
            vip,
            service,
            Declared::Config,
            snapshots,
            policy,
        );
    }
    for (name, service) in &catalog.services {
        let Some(tagged) = &service.tagged else {
            continue;
        };
        if policy.services.contains_key(name) {
            continue;
        }
        match tagged {
            Ok(vip) => add(
                &mut desired,
                name,
                vip,
                service,
                Declared::Tags,
                snapshots,
                policy,
            ),
            Err(rejected) => {
                desired.rejected.push((Arc::clone(name), rejected.clone()));
                // A tag that went bad takes nothing down: the last good policy holds on.
                if let Some(saved) = snapshots.last.iter().find(|saved| saved.name == *name) {
                    let vip = saved.policy();
                    add(
                        &mut desired,
                        name,
                        &vip,
                        service,
                        Declared::Disk,
                        snapshots,
                        policy,
                    );
                }
            }
        }
    }
    refuse_loops(&mut desired, policy);
    desired
}

fn add(
    desired: &mut Desired,
    name: &Arc<str>,
    vip: &VipPolicy,
    service: &CatalogService,
    declared: Declared,
    snapshots: &Snapshots<'_>,
    policy: &Policy,
) {
    let mut reject = |reason: String| {
        desired
            .rejected
            .push((Arc::clone(name), Rejected::because(reason)));
    };
    if !policy.ownership.owns(&vip.id) {
        return reject(format!(
            "{} is outside the ranges that director.own gives us",
            vip.id
        ));
    }
    if let Some(other) = desired.services.get(&vip.id) {
        return reject(format!("{} is taken by service {}", vip.id, other.name));
    }
    let mut endpoints: Vec<Endpoint> = Vec::with_capacity(service.instances.len());
    for instance in &service.instances {
        if Family::of(&instance.address.ip()) == vip.id.family() {
            let endpoint = endpoint(instance, &vip.id, snapshots);
            match endpoints.last_mut() {
                // Two registrations of one address are one real server: a leftover does not speak for who lives there now.
                Some(last) if last.address == endpoint.address => {
                    if endpoint.precedence() > last.precedence() {
                        *last = endpoint;
                    }
                }
                _ => endpoints.push(endpoint),
            }
        } else {
            reject(format!(
                "instance {} is not of the VIP's address family",
                instance.address
            ));
        }
    }
    let service = DesiredService {
        name: Arc::clone(name),
        settings: vip.settings,
        forwarding: vip.forwarding,
        snat: vip.snat,
        drain: vip.drain.unwrap_or(policy.drain),
        declared,
        endpoints,
    };
    desired.services.insert(vip.id, service);
}

fn endpoint(instance: &Instance, service: &ServiceId, snapshots: &Snapshots<'_>) -> Endpoint {
    let alloc = instance.origin.as_ref().map(|origin| origin.alloc);
    let (phase, known) = match (alloc, snapshots.fleet) {
        (Some(id), FleetView::Known(fleet)) => {
            let phase = fleet.get(id).map(|alloc| alloc.phase(instance.address));
            (phase, phase.is_some())
        }
        _ => (None, alloc.is_none()),
    };
    let phase = snapshots.hints.get(&instance.address).copied().or(phase);
    let mut want = rule::want(phase, Some(rule::Seen::of(instance)));
    if let Want::Serve(weight) = want
        && (!instance.checked || !known)
        && weight.serves()
        && service.protocol() == Some(Protocol::Tcp)
        && !snapshots.warmed.contains(&(*service, instance.address))
    {
        want = Want::Warm(weight);
    }
    if alloc.is_some() && matches!(snapshots.fleet, FleetView::Awaited) {
        want = Want::Keep;
    }
    Endpoint {
        address: instance.address,
        want,
        phase,
        health: Some(instance.health),
        alloc,
        held: false,
    }
}

/// A VIP that is its own real server would feed its packets to itself.
fn refuse_loops(desired: &mut Desired, policy: &Policy) {
    let owned = |endpoint: &Endpoint| policy.ownership.contains(endpoint.address.ip());
    if !desired
        .services
        .values()
        .flat_map(|service| &service.endpoints)
        .any(owned)
    {
        return;
    }
    let vips: BTreeSet<IpAddr> = desired.services.keys().filter_map(ServiceId::vip).collect();
    let rejected = &mut desired.rejected;
    for service in desired.services.values_mut() {
        service.endpoints.retain(|endpoint| {
            let looped = owned(endpoint) && vips.contains(&endpoint.address.ip());
            if looped {
                let reason = format!("instance {} is itself a VIP", endpoint.address);
                rejected.push((Arc::clone(&service.name), Rejected::because(reason)));
            }
            !looped
        });
    }
}

/// The last applied table, while the sources have not been read: it adds what is missing and takes nothing away.
fn from_disk(last: &[SavedService], policy: &Policy) -> Desired {
    let mut desired = Desired::default();
    for saved in last.iter().filter(|saved| policy.ownership.owns(&saved.id)) {
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
        let mut endpoints: Vec<Endpoint> = saved.reals.iter().map(endpoint).collect();
        endpoints.sort_by_key(|endpoint| endpoint.address);
        endpoints.dedup_by_key(|endpoint| endpoint.address);
        let service = DesiredService {
            name: Arc::clone(&saved.name),
            settings: saved.settings,
            forwarding: saved.forwarding,
            snat: saved.snat,
            drain: policy.drain,
            declared: Declared::Disk,
            endpoints,
        };
        desired.services.insert(saved.id, service);
    }
    desired
}

#[cfg(test)]
mod tests;
