//! Starts that are under way, by the agent's task id: a stop gives one up.
//!
//! The agent sends no stop for a task whose start it still waits for, and its request lives until it has the answer. Two
//! things end a start early all the same: a stop or a removal of its id, by any caller, and a request that is dropped because
//! the agent has gone, for then this driver's future is dropped too.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

#[derive(Debug, Clone, Default)]
pub(super) struct Starts {
    by_id: Arc<Mutex<HashMap<String, Signals>>>,
}

#[derive(Debug, Clone, Default)]
struct Signals {
    give_up: CancellationToken,
    over: CancellationToken,
}

/// One start, under way until this is dropped.
#[derive(Debug)]
pub(super) struct Start {
    starts: Starts,
    id: String,
    signals: Signals,
}

impl Starts {
    /// `None`: this task is being started already.
    pub(super) fn begin(&self, id: &str) -> Option<Start> {
        let signals = Signals::default();
        match self.lock().entry(id.to_owned()) {
            Entry::Occupied(_) => return None,
            Entry::Vacant(place) => place.insert(signals.clone()),
        };
        Some(Start {
            starts: self.clone(),
            id: id.to_owned(),
            signals,
        })
    }

    /// Returns once no start of this task is under way: given up, or too far for that.
    pub(super) async fn give_up(&self, id: &str) {
        let signals = self.lock().get(id).cloned();
        if let Some(signals) = signals {
            signals.give_up.cancel();
            signals.over.cancelled().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Signals>> {
        // Nothing panics while the lock is held; if something did, the map is still whole.
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Start {
    /// Answers once somebody wants this start given up. Cancel-safe.
    pub(super) async fn wait_give_up(&self) {
        self.signals.give_up.cancelled().await;
    }
}

impl Drop for Start {
    fn drop(&mut self) {
        self.starts.lock().remove(&self.id);
        self.signals.over.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_start_is_under_way_once_and_until_it_is_dropped() {
        let starts = Starts::default();
        let start = starts.begin("t1").unwrap();
        assert!(starts.begin("t1").is_none() && starts.begin("t2").is_some());
        let (guard, give_up) = (start, starts.give_up("t1"));
        let run = async move {
            guard.wait_give_up().await;
        };
        tokio::join!(run, give_up);
        assert!(starts.begin("t1").is_some());
        starts.give_up("nobody").await;
    }
}
