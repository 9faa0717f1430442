//! One TCP connection before the first packet: where no check says that a server listens, the director tries.
//!
//! Each wanted endpoint has a task that connects, bounded in time, again and again until it succeeds or is not wanted
//! any more. A success is told once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use ipvs::ServiceId;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

/// A virtual service's endpoint.
pub type Key = (ServiceId, SocketAddr);

const CONNECT_LIMIT: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// All tries under way.
#[derive(Debug)]
pub struct Prober {
    tasks: JoinSet<()>,
    under_way: BTreeMap<Key, AbortHandle>,
    succeeded: mpsc::UnboundedSender<Key>,
}

impl Prober {
    /// Tells successes on the channel.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Key>) {
        let (succeeded, told) = mpsc::unbounded_channel();
        (
            Self {
                tasks: JoinSet::new(),
                under_way: BTreeMap::new(),
                succeeded,
            },
            told,
        )
    }

    /// Exactly these are tried from now on.
    pub fn want(&mut self, wanted: &BTreeSet<Key>) {
        self.under_way.retain(|key, task| {
            let keep = wanted.contains(key);
            if !keep {
                task.abort();
            }
            keep
        });
        while self.tasks.try_join_next().is_some() {}
        for key in wanted {
            if !self.under_way.contains_key(key) {
                let task = self
                    .tasks
                    .spawn(until_it_listens(*key, self.succeeded.clone()));
                self.under_way.insert(*key, task);
            }
        }
    }
}

async fn until_it_listens(key: Key, succeeded: mpsc::UnboundedSender<Key>) {
    let mut pause = FIRST_PAUSE;
    loop {
        if let Ok(Ok(_connection)) =
            tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(key.1)).await
        {
            let _ = succeeded.send(key);
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_endpoint_is_told_once_it_listens_and_not_before() {
        let reserved = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = reserved.local_addr().unwrap();
        drop(reserved);
        let key = ("198.18.0.29:80".parse().unwrap(), address);
        let (mut prober, mut told) = Prober::new();
        prober.want(&[key].into());
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(told.try_recv().is_err());
        let _listener = tokio::net::TcpListener::bind(address).await.unwrap();
        assert_eq!(told.recv().await, Some(key));
    }
}
