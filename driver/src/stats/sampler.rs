//! Reads the counters of all tasks in one place: once an interval, one after the other, off the runtime's workers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use super::cgroup::{Cgroup, Clock};
use crate::engine::Sample;

/// No agent looks less often, and any moment plus this is one still.
const INTERVAL_MAX: Duration = Duration::from_hours(24);

#[derive(Debug, Clone)]
pub struct Sampler {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    origin: Instant,
    clock: Clock,
    queue: Mutex<Queue>,
    /// Wakes who sleeps till the next is due: it does not know of a new one.
    fresh: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    readers: Vec<Subscriber>,
    /// Somebody reads and will look at `readers` again.
    is_running: bool,
}

/// One who wants a cgroup's counters now and then.
#[derive(Debug)]
struct Subscriber {
    cgroup: Cgroup,
    interval: Duration,
    due: Instant,
    to: mpsc::Sender<Sample>,
}

impl Default for Sampler {
    fn default() -> Self {
        Self {
            inner: Arc::new(Inner {
                origin: Instant::now(),
                clock: Clock::start(),
                queue: Mutex::default(),
                fresh: Notify::new(),
            }),
        }
    }
}

impl Sampler {
    /// A sample at once and then one an interval; who is behind misses some. Ends when the cgroup can't be read any more.
    pub(super) fn subscribe(&self, cgroup: Cgroup, interval: Duration) -> mpsc::Receiver<Sample> {
        let (to, samples) = mpsc::channel(1);
        let reader = Subscriber {
            cgroup,
            interval,
            due: Instant::now(),
            to,
        };
        let mut queue = self.inner.queue();
        queue.readers.push(reader);
        if std::mem::replace(&mut queue.is_running, true) {
            self.inner.fresh.notify_one();
        } else {
            tokio::spawn(run(Arc::clone(&self.inner)));
        }
        samples
    }
}

impl Inner {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics while the lock is held; if something did, the list is still whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next multiple of `interval`: all readers of one interval are due at the same time.
    fn next(&self, interval: Duration) -> Instant {
        let now = Instant::now();
        let interval = interval.clamp(Duration::from_nanos(1), INTERVAL_MAX);
        let since = now.duration_since(self.origin).as_nanos();
        let into = since.checked_rem(interval.as_nanos()).unwrap_or_default();
        let into = Duration::from_nanos(u64::try_from(into).unwrap_or_default());
        now.checked_add(interval.saturating_sub(into))
            .unwrap_or(now)
    }
}

/// Ends when nobody wants anything any more.
async fn run(inner: Arc<Inner>) {
    loop {
        let (due, next) = {
            let mut queue = inner.queue();
            let now = Instant::now();
            let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut queue.readers)
                .into_iter()
                .partition(|reader| reader.due <= now);
            queue.readers = later;
            (due, queue.readers.iter().map(|reader| reader.due).min())
        };
        if due.is_empty() {
            let Some(next) = next else {
                let mut queue = inner.queue();
                // One may have come since.
                if queue.readers.is_empty() {
                    queue.is_running = false;
                    return;
                }
                continue;
            };
            // Cancel-safe: both only wait.
            tokio::select! {
                () = sleep_until(next) => {}
                () = inner.fresh.notified() => {}
            }
            continue;
        }
        let clock = inner.clock;
        let readers = spawn_blocking(move || {
            due.into_iter()
                .filter(|reader| reader.read(clock))
                .collect()
        });
        // A panic of the reading thread would end these streams, and the agent opens them again.
        let readers: Vec<Subscriber> = readers.await.unwrap_or_default();
        let again = readers.into_iter().map(|reader| Subscriber {
            due: inner.next(reader.interval),
            ..reader
        });
        inner.queue().readers.extend(again);
    }
}

impl Subscriber {
    /// Whether there will be another sample.
    fn read(&self, clock: Clock) -> bool {
        if self.to.is_closed() {
            return false;
        }
        match self.cgroup.sample(clock) {
            Ok(sample) => !matches!(
                self.to.try_send(sample),
                Err(mpsc::error::TrySendError::Closed(_))
            ),
            Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_interval_without_end_is_a_day_and_one_of_nothing_is_soon() {
        let inner = Sampler::default().inner;
        let wait = |interval| inner.next(interval).duration_since(Instant::now());
        assert!(wait(Duration::MAX) <= INTERVAL_MAX);
        assert!(wait(Duration::MAX) > INTERVAL_MAX / 2);
        assert!(wait(Duration::ZERO) < Duration::from_secs(1));
    }
}
