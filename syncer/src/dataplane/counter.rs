//! Counts connections beside the loop, one virtual service at a time, so that changes never wait for a large table.
//!
//! Many may want the same at once: a hundred tasks of one service that are stopped together. Whoever asks while something
//! is being counted is answered by the next round, in which each virtual service is counted once for all.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use ipvs::{Client, Connections, Kernel, ServiceId};
use tokio::sync::{mpsc, oneshot};

use super::Counts;
use super::thread::SocketThread;

/// Questions that wait for the next round; behind them, whoever asks waits.
const QUESTIONS: usize = 256;

struct Question {
    services: Vec<ServiceId>,
    answer: oneshot::Sender<Counts>,
}

/// A handle to what counts; clones share it.
#[derive(Debug, Clone)]
pub struct Counter {
    questions: mpsc::Sender<Question>,
}

type Reals = Vec<(SocketAddr, Connections)>;

impl Counter {
    pub(super) fn start(thread: SocketThread<Client>) -> Self {
        Self::counting(move |id| {
            let thread = thread.clone();
            async move {
                let reals = thread.ask(move |client| client.reals(&id)).await;
                let reals = reals.ok()?.ok()?.into_iter();
                Some(reals.map(|(real, count)| (real.address, count)).collect())
            }
        })
    }

    /// `count` is `None` where a virtual service can't be counted.
    fn counting<F>(count: impl Fn(ServiceId) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Option<Reals>> + Send,
    {
        let (questions, mut inbox) = mpsc::channel::<Question>(QUESTIONS);
        tokio::spawn(async move {
            let mut round = Vec::new();
            while inbox.recv_many(&mut round, QUESTIONS).await > 0 {
                let ids = round.iter().flat_map(|question| &question.services);
                let ids: BTreeSet<ServiceId> = ids.copied().collect();
                let mut counted: BTreeMap<ServiceId, Reals> = BTreeMap::new();
                for id in ids {
                    if let Some(reals) = count(id).await {
                        counted.insert(id, reals);
                    }
                }
                for question in round.drain(..) {
                    let own = question.services.iter();
                    let own = own.filter_map(|id| Some((id, counted.get(id)?)));
                    let counts = own.flat_map(|(id, reals)| {
                        let key = move |(address, count): &(SocketAddr, Connections)| {
                            ((*id, *address), *count)
                        };
                        reals.iter().map(key)
                    });
                    // Whoever asked may have gone.
                    let _ = question.answer.send(counts.collect());
                }
            }
        });
        Self { questions }
    }

    /// Counts these virtual services; one that can't be counted is left out.
    pub async fn count(&self, services: Vec<ServiceId>) -> Counts {
        let (answer, answered) = oneshot::channel();
        let question = Question { services, answer };
        if self.questions.send(question).await.is_err() {
            return Counts::new();
        }
        answered.await.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_service_that_many_want_counted_at_once_is_counted_once_for_all_of_them() {
        let rounds = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&rounds);
        let counter = Counter::counting(move |id: ServiceId| {
            let number = counted.fetch_add(1, Ordering::SeqCst);
            async move {
                tokio::time::sleep(Duration::from_millis(10)).await;
                let real = (id.vip()?, 80).into();
                let active = u32::try_from(number).ok()?;
                Some(vec![(
                    real,
                    Connections {
                        active,
                        ..Connections::default()
                    },
                )])
            }
        });
        let id: ServiceId = "198.18.0.29:80".parse().unwrap();
        let first = counter.count(vec![id]);
        let others = async {
            // While the first is under way: what it sees is too old for whoever asks now.
            tokio::time::sleep(Duration::from_millis(1)).await;
            let others = (0..100).map(|_| counter.count(vec![id]));
            futures_util::future::join_all(others).await
        };
        let (first, others) = tokio::join!(first, others);
        let active = |counts: &Counts| counts.values().next().unwrap().active;
        assert_eq!(active(&first), 0);
        assert!(others.iter().all(|counts| active(counts) == 1));
        assert_eq!(rounds.load(Ordering::SeqCst), 2);
    }
}
