//! Work on files, off the runtime's workers: bounded in number, and never waited for longer than a limit.
//!
//! A path that a job names may lie on a file system that does not answer. The thread that asked is then lost until it
//! does, so there are few of them; who waits gives up, and [`FileWork::hang`] tells the driver's health.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

/// So many pieces of work run at the same time.
const SLOTS_MAX: usize = 8;
/// The limit for one piece of work, its wait for a slot included.
const WORK_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileWorkError {
    #[error("{work}: the file system did not answer within {} s", WORK_LIMIT.as_secs())]
    Slow { work: &'static str },
    #[error("{work}: the work broke off")]
    Broken { work: &'static str },
}

/// Clones share their slots.
#[derive(Debug, Clone)]
pub struct FileWork {
    slots: Arc<Semaphore>,
    ledger: Arc<Mutex<Ledger>>,
}

/// What is under way, by number.
#[derive(Debug, Default)]
struct Ledger {
    count: u64,
    open: BTreeMap<u64, (&'static str, Instant)>,
}

/// A piece of work that should have been done long ago.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hang {
    pub work: &'static str,
    pub age: Duration,
}

/// Takes its entry out when the work is over, also by a panic.
struct Entry {
    ledger: Arc<Mutex<Ledger>>,
    number: u64,
}

impl Default for FileWork {
    fn default() -> Self {
        Self {
            slots: Arc::new(Semaphore::new(SLOTS_MAX)),
            ledger: Arc::default(),
        }
    }
}

impl FileWork {
    /// Does `act` on a thread where it may block. `work` is a noun phrase for people. Work that is given up goes on by
    /// itself, so `act` has to own what it leaves behind.
    pub async fn run<T: Send + 'static>(
        &self,
        work: &'static str,
        act: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, FileWorkError> {
        let (slots, ledger) = (Arc::clone(&self.slots), Arc::clone(&self.ledger));
        let job = async move {
            let slot = slots.acquire_owned().await.ok()?;
            let entry = Entry::open(ledger, work);
            tokio::task::spawn_blocking(move || {
                let (_slot, _entry) = (slot, entry);
                act()
            })
            .await
            .ok()
        };
        match timeout(WORK_LIMIT, job).await {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(FileWorkError::Broken { work }),
            Err(_) => Err(FileWorkError::Slow { work }),
        }
    }

    /// The oldest piece of work that takes longer than any may.
    pub fn hang(&self) -> Option<Hang> {
        let ledger = lock(&self.ledger);
        let (work, begin) = ledger.open.values().min_by_key(|(_, begin)| *begin)?;
        let age = begin.elapsed();
        (age > WORK_LIMIT).then_some(Hang { work, age })
    }
}

impl Entry {
    fn open(ledger: Arc<Mutex<Ledger>>, work: &'static str) -> Self {
        let mut open = lock(&ledger);
        open.count = open.count.wrapping_add(1);
        let number = open.count;
        open.open.insert(number, (work, Instant::now()));
        drop(open);
        Self { ledger, number }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        lock(&self.ledger).open.remove(&self.number);
    }
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    // No panic leaves the map half changed.
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_that_hangs_is_given_up_and_told_until_it_ends() {
        let files = FileWork::default();
        let (end, wait) = mpsc::channel::<()>();
        let read = files.run("a read", move || wait.recv().is_err());
        // The paused clock does not go on by itself while a blocking thread works.
        let pass = async {
            tokio::task::yield_now().await;
            assert_eq!(files.hang(), None);
            tokio::time::advance(WORK_LIMIT + Duration::from_secs(1)).await;
        };
        let (outcome, ()) = tokio::join!(read, pass);
        assert_eq!(outcome, Err(FileWorkError::Slow { work: "a read" }));
        assert_eq!(files.hang().map(|hang| hang.work), Some("a read"));
        drop(end);
        while files.hang().is_some() {
            tokio::task::yield_now().await;
        }
        assert_eq!(files.run("a sum", || 1 + 1).await, Ok(2));
    }

    #[tokio::test]
    async fn work_that_panics_is_an_error_and_leaves_no_slot_behind() {
        let files = FileWork::default();
        for _ in 0..=SLOTS_MAX {
            let outcome = files.run::<()>("a read", || panic!("on purpose")).await;
            assert_eq!(outcome, Err(FileWorkError::Broken { work: "a read" }));
        }
        assert_eq!(files.slots.available_permits(), SLOTS_MAX);
    }
}
