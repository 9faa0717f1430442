//! The rules of blocking queries, which Nomad and Consul share.
//!
//! An answer is no proof of a change, an index may go back (restored snapshot, new cluster) and then starts anew, one
//! below 1 would not block at all. A server that answers at once all the time is asked at a bounded rate.

use std::time::Duration;

use tokio::time::Instant;

/// How long the server may hold a query.
pub const WAIT: Duration = Duration::from_mins(1);

/// When the client gives up: the server adds up to a sixteenth of jitter.
pub const LIMIT: Duration = Duration::from_secs(60 + 4 + 10);

/// The index to ask for next; 0 asks for an answer at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor(pub u64);

impl Cursor {
    /// Takes the index of an answer.
    #[must_use]
    pub fn after(self, index: Option<u64>) -> Self {
        match index {
            Some(index) if index < self.0 => Self(0),
            Some(index) => Self(index.max(1)),
            None => Self(0),
        }
    }

    /// Whether an answer under that index is older than the one before.
    pub fn is_after(self, index: u64) -> bool {
        index < self.0
    }

    /// The query part of a path.
    pub fn query(self) -> String {
        if self.0 == 0 {
            String::new()
        } else {
            format!("index={}&wait={}s", self.0, WAIT.as_secs())
        }
    }
}

/// A token bucket: bursts pass at once, a flood is slowed down.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    const BURST: f64 = 20.0;
    const PER_SECOND: f64 = 50.0;

    /// Full.
    pub fn new() -> Self {
        Self {
            tokens: Self::BURST,
            filled: Instant::now(),
        }
    }

    /// Waits until one more is allowed.
    pub async fn take(&mut self) {
        tokio::time::sleep(self.due()).await;
    }

    /// How long to wait for one more.
    pub fn due(&mut self) -> Duration {
        let now = Instant::now();
        let gained = now.duration_since(self.filled).as_secs_f64() * Self::PER_SECOND;
        self.tokens = (self.tokens + gained).min(Self::BURST) - 1.0;
        self.filled = now;
        Duration::from_secs_f64((-self.tokens / Self::PER_SECOND).max(0.0))
    }
}

impl Default for Bucket {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_that_goes_back_starts_anew_and_zero_becomes_one() {
        assert_eq!(Cursor(7).after(Some(9)), Cursor(9));
        assert_eq!(Cursor(7).after(Some(7)), Cursor(7));
        assert_eq!(Cursor(7).after(Some(6)), Cursor(0));
        assert_eq!(Cursor(0).after(Some(0)), Cursor(1));
        assert_eq!(Cursor(7).after(None), Cursor(0));
        assert_eq!(Cursor(0).query(), "");
        assert_eq!(Cursor(7).query(), "index=7&wait=60s");
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_slowed_down_and_a_burst_is_not() {
        let mut bucket = Bucket::new();
        let start = Instant::now();
        for _ in 0..20 {
            bucket.take().await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        for _ in 0..50 {
            bucket.take().await;
        }
        assert!(
            start.elapsed() >= Duration::from_millis(900),
            "{:?}",
            start.elapsed()
        );
    }
}
