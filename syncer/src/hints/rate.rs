//! How often hints are taken: a burst passes at once, as when a node is drained; a flood waits, and nothing of it is lost.
//!
//! Each node has an allowance of its own, whatever it opens of connections and streams, and all of them share one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rustls_pki_types::CertificateDer;

use crate::rate::{Bucket, Rate};

/// The rate of one node: it stops no more tasks at once, and starts and ends fewer for long.
const NODE: Rate = Rate {
    burst: 512,
    interval: Duration::from_millis(20),
};

/// The rate of all nodes together.
const ALL: Rate = Rate {
    burst: 4096,
    interval: Duration::from_millis(2),
};

/// A bucket that streams share.
#[derive(Debug)]
struct Allowance(Mutex<Bucket>);

impl Allowance {
    fn new(rate: Rate) -> Self {
        Self(Mutex::new(Bucket::new(rate)))
    }

    /// Waits until one more is allowed.
    async fn take(&self) {
        let wait = {
            let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            bucket.take()
        };
        tokio::time::sleep(wait).await;
    }
}

/// What tells nodes from each other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Origin {
    Certificate(Arc<CertificateDer<'static>>),
    Address(Option<IpAddr>),
}

/// The allowances of a listener.
#[derive(Debug)]
pub(super) struct Rates {
    node: Rate,
    nodes: Mutex<HashMap<Origin, Weak<Allowance>>>,
    all: Arc<Allowance>,
}

impl Default for Rates {
    fn default() -> Self {
        Self::new(NODE, ALL)
    }
}

impl Rates {
    fn new(node: Rate, all: Rate) -> Self {
        Self {
            node,
            nodes: Mutex::default(),
            all: Arc::new(Allowance::new(all)),
        }
    }

    /// Gives a stream its turns.
    pub(super) fn of(&self, origin: Origin) -> Turns {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.retain(|_, allowance| allowance.strong_count() > 0);
        let node = nodes.get(&origin).and_then(Weak::upgrade);
        let node = node.unwrap_or_else(|| Arc::new(Allowance::new(self.node)));
        nodes.insert(origin, Arc::downgrade(&node));
        Turns {
            node,
            all: Arc::clone(&self.all),
        }
    }
}

/// When one stream may have its next hint taken.
#[derive(Debug, Clone)]
pub(super) struct Turns {
    node: Arc<Allowance>,
    all: Arc<Allowance>,
}

impl Turns {
    /// Waits for the next turn: first the node's own, so that a flood takes no more than that of what is for all.
    pub(super) async fn next(&self) {
        self.node.take().await;
        self.all.take().await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    const fn rate(burst: u32, millis: u64) -> Rate {
        Rate {
            burst,
            interval: Duration::from_millis(millis),
        }
    }

    fn node(last: u8) -> Origin {
        Origin::Address(Some([198, 18, 0, last].into()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_at_once_and_a_flood_waits_however_many_streams_it_has() {
        let rates = Rates::new(rate(10, 20), rate(1000, 1));
        let started = Instant::now();
        let streams = [rates.of(node(1)), rates.of(node(1))];
        for turns in streams.iter().cycle().take(10) {
            turns.next().await;
        }
        assert_eq!(started.elapsed(), Duration::ZERO);
        for turns in streams.iter().cycle().take(50) {
            turns.next().await;
        }
        assert_eq!(started.elapsed(), Duration::from_secs(1));
        rates.of(node(2)).next().await;
        assert_eq!(started.elapsed(), Duration::from_secs(1), "another node");
        tokio::time::advance(Duration::from_millis(200)).await;
        let started = Instant::now();
        for _ in 0..10 {
            streams[0].next().await;
        }
        assert_eq!(started.elapsed(), Duration::ZERO, "full again");
    }

    #[tokio::test(start_paused = true)]
    async fn all_nodes_together_are_bounded_and_one_that_is_gone_is_forgotten() {
        let rates = Rates::new(rate(100, 1), rate(10, 10));
        let started = Instant::now();
        for last in 0..20 {
            rates.of(node(last)).next().await;
        }
        assert_eq!(started.elapsed(), Duration::from_millis(100));
        assert_eq!(rates.nodes.lock().unwrap().len(), 1);
    }
}
