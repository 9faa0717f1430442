//! What the table must be once everything has healed and all time has passed, written from the rule's table.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ipvs::Table;
use syncer_core::model::catalog::Health;
use syncer_core::model::fleet::{Allocation, ClientStatus, TaskState};

use super::truth::{SERVICES, Truth, over};
use super::world::{RISING, vip};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Must {
    Weigh(u32),
    /// None if it was new, weight 0 if it was known.
    NotServe,
    BeGone,
    BeWhatever,
}

pub(crate) fn check(truth: &Truth, table: &Table) {
    for (service, name) in SERVICES.iter().enumerate() {
        let there = table
            .get(&vip(service))
            .unwrap_or_else(|| panic!("{name} has no virtual service"));
        let musts = musts(truth, service);
        for real in there.reals() {
            let must = musts.get(&real.address).copied().unwrap_or(Must::BeGone);
            let weight = real.weight.get();
            let kept = match must {
                Must::Weigh(wanted) if service == RISING => weight == wanted * 10,
                Must::Weigh(wanted) => weight == wanted,
                Must::NotServe => weight == 0,
                Must::BeGone => false,
                Must::BeWhatever => true,
            };
            assert!(
                kept,
                "{name} {} has weight {weight} and must {must:?}; {:#?} {:#?}",
                real.address,
                truth
                    .registrations
                    .iter()
                    .filter(|one| one.instance.address == real.address)
                    .collect::<Vec<_>>(),
                truth
                    .allocations
                    .values()
                    .filter(|(_, one)| one.ports[0].address == real.address)
                    .collect::<Vec<_>>(),
            );
        }
        for (address, must) in musts {
            let missing = matches!(must, Must::Weigh(_)) && there.real(address).is_none();
            assert!(!missing, "{name} {address} is missing and must {must:?}");
        }
    }
}

fn musts(truth: &Truth, service: usize) -> BTreeMap<SocketAddr, Must> {
    let mut ranked: BTreeMap<SocketAddr, (bool, Must)> = BTreeMap::new();
    // Of two registrations of one address the livelier one counts, then the one that Nomad knows.
    let rank = |(known, must): (bool, Must)| (liveliness(must), known, weight(must));
    let mut put = |address: SocketAddr, known: bool, must: Must| {
        let there = ranked.entry(address).or_insert((known, must));
        if rank((known, must)) > rank(*there) {
            *there = (known, must);
        }
    };
    for one in truth
        .registrations
        .iter()
        .filter(|one| one.service == service)
    {
        let health = one.instance.health;
        let alloc = one
            .instance
            .origin
            .as_ref()
            .map(|origin| truth.allocations.get(&origin.alloc));
        let known = matches!(alloc, Some(Some(_)));
        let must = match alloc {
            None | Some(None) => by_health(health),
            Some(Some((_, alloc))) => of(alloc, Some(health)),
        };
        put(one.instance.address, known, must);
    }
    // What is not in the catalogue and may be in the kernel.
    for (_, alloc) in truth.allocations.values().filter(|(_, alloc)| !over(alloc)) {
        let address = alloc.ports[0].address;
        if !truth
            .registrations
            .iter()
            .any(|one| one.service == service && one.instance.address == address)
        {
            put(address, true, of(alloc, None));
        }
    }
    let mut musts: BTreeMap<SocketAddr, Must> = ranked
        .into_iter()
        .map(|(at, (_, must))| (at, must))
        .collect();
    if !musts
        .values()
        .any(|must| matches!(must, Must::Weigh(weight) if *weight > 0))
    {
        // The last one may serve on while its successor is on its way.
        for (_, alloc) in truth
            .allocations
            .values()
            .filter(|(_, alloc)| !over(alloc) && !alloc.wanted)
        {
            let successor = truth.allocations.values().any(|(_, other)| {
                other.wanted
                    && other.job == alloc.job
                    && matches!(other.client, ClientStatus::Pending | ClientStatus::Running)
            });
            if successor {
                musts.insert(alloc.ports[0].address, Must::BeWhatever);
            }
        }
    }
    musts
}

fn of(alloc: &Allocation, health: Option<Health>) -> Must {
    match (alloc.client, health) {
        (ClientStatus::Complete | ClientStatus::Failed | ClientStatus::Lost, _) => Must::BeGone,
        (ClientStatus::Unknown, None) => Must::BeWhatever,
        (ClientStatus::Unknown, Some(health)) => by_health(health),
        _ if !alloc.wanted => Must::BeGone,
        (ClientStatus::Pending, _) => Must::NotServe,
        (ClientStatus::Running, _) if alloc.tasks[0].state != TaskState::Running => Must::NotServe,
        (ClientStatus::Running, None) => Must::BeGone,
        (ClientStatus::Running, Some(health)) => by_health(health),
    }
}

fn by_health(health: Health) -> Must {
    match health {
        Health::Passing => Must::Weigh(10),
        Health::Warning => Must::Weigh(3),
        Health::Critical | Health::Maintenance => Must::NotServe,
    }
}

fn liveliness(must: Must) -> u32 {
    match must {
        Must::Weigh(_) => 3,
        Must::BeWhatever => 2,
        Must::NotServe => 1,
        Must::BeGone => 0,
    }
}

fn weight(must: Must) -> u32 {
    if let Must::Weigh(weight) = must {
        weight
    } else {
        0
    }
}
