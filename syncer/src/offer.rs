//! What a director asks of nodes whose instances answer clients themselves (direct routing), and which of it they take.
//!
//! ```text
//! watch<PassState> ─▶ offered (pure) ─▶ Offers ─▶ one stream a node ─▶ the node's real_server role
//!                                         ▲ taken ◀──────────────────────────┘
//! trial: the instance listens ─▶ it is offered ─▶ its node takes it ─▶ warmed ─▶ pass ─▶ real server
//! ```
//!
//! An offer is the whole of what a node shall take, so that a message that is lost, or a node that comes back, costs time and
//! nothing else. Nothing is offered before this director knows all that there should be: a node drops what an offer lacks.

mod direct;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipvs::Weight;
use syncer_core::pass::{Key, PassState};
use tokio::sync::watch;

pub use direct::{Instance, NodeOffer, NodeOffers};

use direct::Direct;

/// What is offered, and what is taken; clones share it.
#[derive(Debug, Clone)]
pub struct Offers {
    /// Instances that listen, and whose nodes may be asked.
    listeners: watch::Sender<BTreeSet<Key>>,
    /// By address of the node; `None` before all that there should be is known.
    by_node: watch::Sender<Option<Arc<NodeOffers>>>,
    /// What each address's node has said last, kept while its stream is away.
    shares: watch::Sender<BTreeMap<IpAddr, Shares>>,
    /// Instances that get nothing new and still have connections open, as their nodes say.
    busy: Arc<Mutex<BTreeMap<IpAddr, BTreeSet<Key>>>>,
    /// Instances that are offered no more, and whose nodes have not said yet that they have let go of them.
    leaving: Arc<Mutex<BTreeMap<IpAddr, BTreeSet<Key>>>>,
    /// Instances whose nodes say that they do not take the VIP, until they open another stream or take it.
    refusals: watch::Sender<Arc<BTreeSet<Key>>>,
}

impl Default for Offers {
    fn default() -> Self {
        Self {
            listeners: watch::Sender::new(BTreeSet::new()),
            by_node: watch::Sender::new(None),
            shares: watch::Sender::new(BTreeMap::new()),
            busy: Arc::default(),
            leaving: Arc::default(),
            refusals: watch::Sender::new(Arc::default()),
        }
    }
}

/// What a node takes, each instance with the share that it has of what comes there.
pub type Shares = BTreeMap<Key, Weight>;

/// An instance that is offered for as long as this lives.
#[derive(Debug)]
#[must_use]
pub struct Offering(Offers, Key);

impl Drop for Offering {
    fn drop(&mut self) {
        self.0.listeners.send_modify(|all| {
            all.remove(&self.1);
        });
    }
}

impl Offers {
    /// Makes offers of what each pass leaves behind, until the passes end.
    pub async fn follow(self, mut passes: watch::Receiver<Arc<PassState>>) {
        let mut listeners = self.listeners.subscribe();
        let mut direct = Direct::default();
        loop {
            // In this order: a pass is published before what it has let serve is on trial no more.
            let trials = listeners.borrow_and_update().clone();
            let state = Arc::clone(&passes.borrow_and_update());
            direct.follow(&state);
            if state.complete && state.outline.complete && !state.outline.awaited {
                self.offer(direct.offered(&trials));
            }
            // Cancel-safe: a change that is not seen here is in what is read next.
            tokio::select! {
                changed = passes.changed() => if changed.is_err() { return },
                changed = listeners.changed() => if changed.is_err() { return },
            }
        }
    }

    /// From now on this is what nodes shall take.
    pub(crate) fn offer(&self, made: NodeOffers) {
        // What is not offered any more says nothing about what is offered there next.
        self.shares.send_modify(|all| {
            for (node, taken) in all {
                let offer = made.get(node);
                let is_offered = |(id, address): &Key| {
                    let instances = offer.and_then(|offer| offer.get(id));
                    let mut instances = instances.into_iter().flatten();
                    instances.any(|instance| instance.address == *address)
                };
                // In this order: whoever looks finds it in one of both.
                let leaves = |(key, weight): (&Key, &Weight)| {
                    (weight.serves() && !is_offered(key)).then_some(*key)
                };
                let leave: BTreeSet<Key> = taken.iter().filter_map(leaves).collect();
                if !leave.is_empty() {
                    lock(&self.leaving).entry(*node).or_default().extend(leave);
                }
                taken.retain(|key, _| is_offered(key));
            }
        });
        self.by_node.send_if_modified(|before| {
            let differs = before.as_deref() != Some(&made);
            if differs {
                *before = Some(Arc::new(made));
            }
            differs
        });
    }

    /// Offers an instance that listens, and waits until its node takes it. To be kept until a pass has let it serve: an offer
    /// without it would have the node drop what comes.
    pub async fn trial(&self, key: Key) -> Offering {
        self.listeners.send_modify(|all| {
            all.insert(key);
        });
        let offering = Offering(self.clone(), key);
        let node = key.1.ip();
        let mut shares = self.shares.subscribe();
        let takes = |all: &BTreeMap<IpAddr, Shares>| {
            let weight = all.get(&node).and_then(|taken| taken.get(&key));
            weight.is_some_and(|weight| weight.serves())
        };
        // The sender is ours: it does not end.
        let _ = shares.wait_for(takes).await;
        offering
    }

    /// What is offered by now, and each change of it.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<Arc<NodeOffers>>> {
        self.by_node.subscribe()
    }

    /// Instances whose nodes say that they do not take the VIP.
    pub fn refusals(&self) -> watch::Receiver<Arc<BTreeSet<Key>>> {
        self.refusals.subscribe()
    }

    /// Notes what the node at that address takes, all of it, and what of its offer it does not.
    pub(crate) fn take(&self, node: IpAddr, taken: Shares, refused: BTreeSet<Key>) {
        self.refusals.send_if_modified(|all| {
            let takes = |key: &Key| taken.contains_key(key);
            let differs = !refused.is_subset(all) || all.iter().any(takes);
            if differs {
                let all = Arc::make_mut(all);
                all.retain(|key| !takes(key));
                all.extend(refused);
            }
            differs
        });
        let is_kept = |key: &Key| taken.get(key).is_some_and(|weight| weight.serves());
        if let Some(leaving) = lock(&self.leaving).get_mut(&node) {
            leaving.retain(is_kept);
        }
        self.shares.send_if_modified(|all| {
            let differs = all.get(&node) != Some(&taken);
            if differs {
                all.insert(node, taken);
            }
            differs
        });
    }

    /// Notes which instances of the node at that address get nothing new and still have connections open.
    pub(crate) fn note_busy(&self, node: IpAddr, busy: BTreeSet<Key>) {
        lock(&self.busy).insert(node, busy);
    }

    /// The node at that address has begun anew: what it refused before it may take now.
    pub(crate) fn forgive(&self, node: IpAddr) {
        self.refusals.send_if_modified(|all| {
            let of_node = |key: &Key| key.1.ip() == node;
            let differs = all.iter().any(of_node);
            if differs {
                Arc::make_mut(all).retain(|key| !of_node(key));
            }
            differs
        });
    }

    /// Whether its node may still give something to that instance: new connections, or packets of open ones. One that has not said
    /// anything to this process may.
    pub(crate) fn is_fed(&self, key: &Key) -> bool {
        let is_busy = |keys: &BTreeSet<Key>| keys.contains(key);
        if lock(&self.busy).get(&key.1.ip()).is_some_and(is_busy) {
            return true;
        }
        let taken = self.shares.borrow();
        taken.get(&key.1.ip()).is_none_or(|taken| {
            let weight = taken.get(key);
            weight.is_some_and(|weight| weight.serves())
        })
    }

    /// Whether the node still gives packets to the instance at that address, though this director has no real server there any more: a
    /// flow of UDP is moved by its node.
    pub(crate) fn is_held(&self, address: SocketAddr) -> bool {
        let node = address.ip();
        let shares = self.shares.borrow();
        let is_there = |(key, weight): (&Key, &Weight)| key.1 == address && weight.serves();
        if shares
            .get(&node)
            .is_some_and(|taken| taken.iter().any(is_there))
        {
            return true;
        }
        let leaving = lock(&self.leaving);
        let mut leaving = leaving.get(&node).into_iter().flatten();
        leaving.any(|key| key.1 == address)
    }
}

fn lock<T>(all: &Mutex<T>) -> MutexGuard<'_, T> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
