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

mod offered;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipvs::Weight;
use syncer_core::pass::{Key, PassState};
use tokio::sync::watch;

pub use offered::{Instance, NodeOffer, Offered};

use offered::Direct;

/// What is offered, and what is taken; clones share it.
#[derive(Debug, Clone)]
pub struct Offers {
    /// Instances that listen, and whose nodes may be asked.
    listening: watch::Sender<BTreeSet<Key>>,
    /// By address of the node; `None` before all that there should be is known.
    offered: watch::Sender<Option<Arc<Offered>>>,
    /// What each address's node has said last, kept while its stream is away.
    taken: watch::Sender<BTreeMap<IpAddr, Taken>>,
}

impl Default for Offers {
    fn default() -> Self {
        Self {
            listening: watch::Sender::new(BTreeSet::new()),
            offered: watch::Sender::new(None),
            taken: watch::Sender::new(BTreeMap::new()),
        }
    }
}

/// What a node takes, each instance with the share that it has of what comes there.
pub type Taken = BTreeMap<Key, Weight>;

/// An instance that is offered for as long as this lives.
#[derive(Debug)]
#[must_use]
pub struct Offering(Offers, Key);

impl Drop for Offering {
    fn drop(&mut self) {
        self.0.listening.send_modify(|all| {
            all.remove(&self.1);
        });
    }
}

impl Offers {
    /// Makes offers of what each pass leaves behind, until the passes end.
    pub async fn follow(self, mut passes: watch::Receiver<Arc<PassState>>) {
        let mut listening = self.listening.subscribe();
        let mut direct = Direct::default();
        loop {
            let state = Arc::clone(&passes.borrow_and_update());
            direct.follow(&state);
            if state.complete {
                self.offer(direct.offered(&listening.borrow_and_update()));
            }
            // Cancel-safe: a change that is not seen here is in what is read next.
            tokio::select! {
                changed = passes.changed() => if changed.is_err() { return },
                changed = listening.changed() => if changed.is_err() { return },
            }
        }
    }

    /// From now on this is what nodes shall take.
    pub(crate) fn offer(&self, made: Offered) {
        self.offered.send_if_modified(|before| {
            let differs = before.as_deref() != Some(&made);
            if differs {
                *before = Some(Arc::new(made));
            }
            differs
        });
    }

    /// Offers an instance that listens, and waits until its node takes it. To be kept until a pass has let it serve: an offer
    /// without it would have the node drop what comes.
    pub async fn until_taken(&self, key: Key) -> Offering {
        self.listening.send_modify(|all| {
            all.insert(key);
        });
        let offering = Offering(self.clone(), key);
        let node = key.1.ip();
        let mut taken = self.taken.subscribe();
        let takes = |all: &BTreeMap<IpAddr, Taken>| {
            all.get(&node).is_some_and(|taken| taken.contains_key(&key))
        };
        // The sender is ours: it does not end.
        let _ = taken.wait_for(takes).await;
        offering
    }

    /// What is offered by now, and each change of it.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<Arc<Offered>>> {
        self.offered.subscribe()
    }

    /// Notes what the node at that address takes, all of it.
    pub(crate) fn take(&self, node: IpAddr, taken: Taken) {
        self.taken.send_if_modified(|all| {
            let differs = all.get(&node) != Some(&taken);
            if differs {
                all.insert(node, taken);
            }
            differs
        });
    }

    /// Whether its node may still give new connections to that instance, as far as the node has said.
    pub(crate) fn is_fed(&self, key: &Key) -> bool {
        let taken = self.taken.borrow();
        let weight = taken.get(&key.1.ip()).and_then(|taken| taken.get(key));
        weight.is_some_and(|weight| weight.serves())
    }
}

#[cfg(test)]
mod tests;
