//! Trials before the first packet: where no check says that a server listens, the director tries; where answers by-pass the
//! director, the server's node has to take packets to the VIP as well.
//!
//! Each wanted endpoint has a task that connects, bounded in time, again and again until it succeeds or is not wanted
//! any more. A success is told once. Only so many connect at a time, for each takes a file; who tries the first time does
//! not wait for those that have tried in vain.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ipvs::Protocol;
use syncer_core::backoff::Backoff;
use syncer_core::pass::{Key, Trials};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};

use crate::offer::Offers;

const CONNECT_LIMIT: Duration = Duration::from_secs(1);

/// From the first to the longest pause between two tries.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(500));

/// Connections at a time of endpoints that try the first time, and of those that try again.
const FIRST_TRIES: usize = 256;
const MORE_TRIES: usize = 128;

/// All tries under way.
#[derive(Debug)]
pub struct Prober {
    tasks: JoinSet<()>,
    under_way: BTreeMap<Key, (Way, AbortHandle)>,
    turns: Turns,
    offers: Offers,
    succeeded: mpsc::UnboundedSender<Key>,
}

/// What an endpoint has to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Connection,
    /// And its node takes packets to the VIP.
    Offer,
}

/// Who may connect now.
#[derive(Debug, Clone)]
struct Turns {
    first: Arc<Semaphore>,
    more: Arc<Semaphore>,
}

impl Prober {
    /// Makes a prober, and the channel of its successes: at most one for each endpoint on trial. Nodes are asked by `offers`.
    pub fn new(offers: Offers) -> (Self, mpsc::UnboundedReceiver<Key>) {
        let (succeeded, successes) = mpsc::unbounded_channel();
        let turns = Turns {
            first: Arc::new(Semaphore::new(FIRST_TRIES)),
            more: Arc::new(Semaphore::new(MORE_TRIES)),
        };
        (
            Self {
                tasks: JoinSet::new(),
                under_way: BTreeMap::new(),
                turns,
                offers,
                succeeded,
            },
            successes,
        )
    }

    /// Tries exactly these from now on.
    pub fn want(&mut self, trials: &Trials) {
        let Trials { probes, offers_due } = trials;
        self.under_way.retain(|key, (way, task)| {
            let keep = match way {
                Way::Connection => probes.contains(key),
                Way::Offer => offers_due.contains(key),
            };
            if !keep {
                task.abort();
            }
            keep
        });
        while self.tasks.try_join_next().is_some() {}
        for &key in probes.union(offers_due) {
            if self.under_way.contains_key(&key) {
                continue;
            }
            let (turns, offers) = (self.turns.clone(), self.offers.clone());
            let succeeded = self.succeeded.clone();
            let way = if offers_due.contains(&key) {
                Way::Offer
            } else {
                Way::Connection
            };
            let task = self.tasks.spawn(async move {
                if key.0.protocol() == Some(Protocol::Tcp) {
                    until_it_listens(key, turns).await;
                }
                if way == Way::Connection {
                    let _ = succeeded.send(key);
                    return;
                }
                let _offering = offers.trial(key).await;
                let _ = succeeded.send(key);
                // Until it is on trial no more.
                std::future::pending::<()>().await;
            });
            self.under_way.insert(key, (way, task));
        }
    }
}

async fn until_it_listens(key: Key, turns: Turns) {
    let mut backoff = BACKOFF;
    let mut turn = &turns.first;
    loop {
        let Ok(permit) = turn.acquire().await else {
            return;
        };
        let connected = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(key.1)).await;
        drop(permit);
        if let Ok(Ok(_connection)) = connected {
            return;
        }
        turn = &turns.more;
        tokio::time::sleep(backoff.fail()).await;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn probes(probes: BTreeSet<Key>) -> Trials {
        Trials {
            probes,
            ..Trials::default()
        }
    }

    #[tokio::test]
    async fn an_endpoint_is_told_once_it_listens_and_not_before() {
        let reserved = tokio::net::TcpSocket::new_v4().unwrap();
        reserved.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = reserved.local_addr().unwrap();
        let key = ("198.18.0.29:80".parse().unwrap(), address);
        let (mut prober, mut successes) = Prober::new(Offers::default());
        prober.want(&probes([key].into()));
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(successes.try_recv().is_err());
        let _listener = reserved.listen(16).unwrap();
        assert_eq!(successes.recv().await, Some(key));
    }

    #[tokio::test]
    async fn thousands_of_endpoints_hold_few_files_and_a_live_one_is_found_among_dead_ones() {
        // Takes connections, and none of them to its end: its queue is full after the first.
        let full = tokio::net::TcpSocket::new_v4().unwrap();
        full.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let full = full.listen(1).unwrap();
        let dead = full.local_addr().unwrap();
        let mut queue = Vec::new();
        for _ in 0..4 {
            let connecting = TcpStream::connect(dead);
            queue.push(tokio::time::timeout(Duration::from_millis(50), connecting).await);
        }
        let key = |number: u16, address| -> Key {
            let id = format!("198.18.{}.{}:80", number >> 8, number & 255);
            (id.parse().unwrap(), address)
        };
        let mut wanted: BTreeSet<Key> = (0..3000).map(|number| key(number, dead)).collect();
        let (mut prober, mut successes) = Prober::new(Offers::default());
        prober.want(&probes(wanted.clone()));
        let port = format!(":{:04X} ", dead.port());
        let sockets = || {
            let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
            let to_it = |line: &&str| line.get(20..34).is_some_and(|peer| peer.contains(&port));
            table.lines().filter(to_it).count()
        };
        while sockets() < FIRST_TRIES {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        let most = FIRST_TRIES + MORE_TRIES + queue.len() + 4;
        assert!(sockets() <= most, "{} sockets", sockets());
        let live = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let live = key(4000, live.local_addr().unwrap());
        // Those that were tried once do not stand in its way.
        wanted.retain(|(id, _)| *id.to_string() < *"tcp://198.18.1");
        wanted.insert(live);
        tokio::time::sleep(CONNECT_LIMIT).await;
        prober.want(&probes(wanted.clone()));
        let found = tokio::time::timeout(Duration::from_secs(5), successes.recv()).await;
        assert_eq!(found.unwrap(), Some(live));
    }
}
