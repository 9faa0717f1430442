//! Connection counts for whoever looks: counted at most once a second, however many ask.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ipvs::ServiceId;
use syncer_core::reading::Counts;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// Counts the connections of some virtual services, beside the loop.
pub type Count =
    Arc<dyn Fn(Vec<ServiceId>) -> Pin<Box<dyn Future<Output = Counts> + Send>> + Send + Sync>;

/// Counts are shown for so long.
const COUNTS_AGE: Duration = Duration::from_secs(1);

/// A count of a large table that takes longer is left out.
const COUNT_TIMEOUT: Duration = Duration::from_secs(5);

/// The last counts of all virtual services; clones share them.
#[derive(Clone)]
pub struct Recent {
    count: Count,
    last: Arc<Mutex<Option<Counted>>>,
}

/// Counts, and when they were made.
type Counted = (Instant, Arc<Counts>);

impl std::fmt::Debug for Recent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recent").finish_non_exhaustive()
    }
}

impl Recent {
    pub fn new(count: Count) -> Self {
        Self {
            count,
            last: Arc::default(),
        }
    }

    /// Gives the counts of a moment ago, or new ones; all that ask while something is counted get the same.
    pub async fn get(&self, ids: Vec<ServiceId>) -> Arc<Counts> {
        let mut last = self.last.lock().await;
        if let Some((at, counts)) = &*last
            && at.elapsed() < COUNTS_AGE
        {
            return Arc::clone(counts);
        }
        let counted = timeout(COUNT_TIMEOUT, (self.count)(ids)).await;
        let counts = Arc::new(counted.unwrap_or_default());
        *last = Some((Instant::now(), Arc::clone(&counts)));
        counts
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn however_many_ask_the_kernel_is_asked_once_a_second() {
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&calls);
        let recent = Recent::new(Arc::new(move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
            Box::pin(async {
                tokio::time::sleep(Duration::from_millis(300)).await;
                Counts::new()
            })
        }));
        let all = (0..200).map(|_| recent.get(Vec::new()));
        futures_util::future::join_all(all).await;
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        tokio::time::advance(COUNTS_AGE).await;
        recent.get(Vec::new()).await;
        assert_eq!(calls.load(Ordering::SeqCst), 2);
    }
}
