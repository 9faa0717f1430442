//! From what a pass leaves behind, what each node shall take. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use ipvs::{Forwarding, RealServer, ServiceId, Weight};
use syncer_core::desired::Want;
use syncer_core::pass::{Key, PassState, ServiceState};

/// An instance on a node, by its host address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instance {
    pub address: SocketAddr,
    /// Its share of what comes to the node; zero: nothing new.
    pub weight: Weight,
}

/// What one node shall take: virtual services, each with its instances there in order of address.
pub type NodeOffer = BTreeMap<ServiceId, Vec<Instance>>;

/// What all nodes shall take, by their addresses.
pub type NodeOffers = BTreeMap<IpAddr, NodeOffer>;

/// What an address is, once in the catalogue and once in the kernel.
#[derive(Debug, Clone, Copy, Default)]
struct Sides {
    want: Option<Want>,
    real: Option<RealServer>,
}

/// The virtual services whose instances answer past the director, or are to.
#[derive(Debug, Default)]
pub(super) struct Direct {
    /// As they were looked at last: of thousands of services those are looked at that have changed.
    before: OrdMap<ServiceId, Arc<ServiceState>>,
    services: BTreeMap<ServiceId, BTreeMap<SocketAddr, Sides>>,
}

impl Direct {
    pub(super) fn follow(&mut self, state: &PassState) {
        for change in self.before.diff(&state.services) {
            let (id, now) = match change {
                DiffItem::Add(id, service)
                | DiffItem::Update {
                    new: (id, service), ..
                } => (id, sides(service)),
                DiffItem::Remove(id, _) => (id, BTreeMap::new()),
            };
            if now.is_empty() {
                self.services.remove(id);
            } else {
                self.services.insert(*id, now);
            }
        }
        self.before = state.services.clone();
    }

    /// All that nodes shall take. An instance that is new is offered once it listens; one that the kernel sends packets to is
    /// offered until it does not any more.
    pub(super) fn offered(&self, listening: &BTreeSet<Key>) -> NodeOffers {
        let mut offered = NodeOffers::new();
        for (id, instances) in &self.services {
            for (&address, sides) in instances {
                if let Some(weight) = weight(*sides, listening.contains(&(*id, address))) {
                    let instance = Instance { address, weight };
                    let node = offered.entry(address.ip()).or_default();
                    node.entry(*id).or_default().push(instance);
                }
            }
        }
        offered
    }
}

/// Addresses of instances that answer past the director, or are to.
fn sides(service: &ServiceState) -> BTreeMap<SocketAddr, Sides> {
    let mut sides: BTreeMap<SocketAddr, Sides> = BTreeMap::new();
    let is_direct = |forwarding| forwarding == Forwarding::DirectRouting;
    let goes_otherwise = |address| {
        let real = service.actual.as_ref()?.real(address)?;
        Some(!is_direct(real.forwarding))
    };
    let wanted = service.wanted.iter();
    // Of one that was not read, only what the kernel has is known.
    for wanted in wanted.filter(|wanted| wanted.complete && is_direct(wanted.forwarding)) {
        for endpoint in &wanted.endpoints {
            // Its node would give it what comes for others, and nobody would ask it whether it still does.
            if goes_otherwise(endpoint.address) == Some(true) {
                continue;
            }
            sides.entry(endpoint.address).or_default().want = Some(endpoint.want);
        }
    }
    let reals = service.actual.iter().flat_map(|actual| actual.reals());
    for real in reals.filter(|real| is_direct(real.forwarding)) {
        sides.entry(real.address).or_default().real = Some(*real);
    }
    sides
}

/// `None`: nothing is sent there, and nothing shall be.
fn weight(sides: Sides, listens: bool) -> Option<Weight> {
    let has = sides.real.map(|real| real.weight);
    match sides.want {
        Some(Want::Serve(weight)) => Some(weight),
        Some(Want::Warm(weight)) if listens || has.is_some_and(Weight::serves) => Some(weight),
        Some(Want::Doubt(weight)) if has.is_some_and(|has| listens || has.serves()) => Some(weight),
        // What the kernel does with it, which may be to let it serve until its successor does.
        Some(
            Want::Warm(_)
            | Want::Doubt(_)
            | Want::Keep
            | Want::Quiesce
            | Want::Drain
            | Want::Remove
            | Want::Substitute,
        )
        | None => has,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn real(weight: u32) -> RealServer {
        RealServer {
            address: "198.18.0.11:20000".parse().unwrap(),
            weight: Weight::saturating(weight),
            forwarding: Forwarding::DirectRouting,
            thresholds: ipvs::Thresholds::default(),
        }
    }

    #[test]
    fn a_new_instance_is_offered_once_it_listens_and_a_known_one_until_it_is_gone() {
        let nine = Weight::saturating(9);
        let rows = [
            (Some(Want::Warm(nine)), None, false, None),
            (Some(Want::Warm(nine)), None, true, Some(9)),
            (Some(Want::Warm(nine)), Some(4), false, Some(9)),
            (Some(Want::Warm(nine)), Some(0), false, Some(0)),
            (Some(Want::Serve(nine)), None, false, Some(9)),
            (Some(Want::Quiesce), Some(0), false, Some(0)),
            (Some(Want::Quiesce), None, true, None),
            (Some(Want::Drain), Some(4), false, Some(4)),
            (None, Some(0), false, Some(0)),
            (None, None, false, None),
        ];
        for (want, has, listens, expected) in rows {
            let sides = Sides {
                want,
                real: has.map(real),
            };
            let offered = weight(sides, listens).map(Weight::get);
            assert_eq!(offered, expected, "{want:?}, {has:?}, {listens}");
        }
    }
}
