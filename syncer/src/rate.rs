//! Token buckets: a burst passes at once, a flood is slowed down.

use std::time::Duration;

use tokio::time::Instant;

/// `burst` tokens at once, and one more each `interval`.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    pub burst: u32,
    pub interval: Duration,
}

/// Tokens that come back at a rate.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    rate: Rate,
    /// When all tokens are back.
    full_at: Instant,
}

impl Bucket {
    /// Makes a full one.
    pub fn new(rate: Rate) -> Self {
        let full_at = Instant::now();
        Self { rate, full_at }
    }

    /// Takes a token, and says how long to wait for it.
    pub fn take(&mut self) -> Duration {
        let (now, Rate { burst, interval }) = (Instant::now(), self.rate);
        self.full_at = self.full_at.max(now) + interval;
        // An empty bucket needs an interval for each token.
        let empty_at = self.full_at.checked_sub(interval * burst);
        empty_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_slowed_down_and_a_burst_is_not() {
        let mut bucket = Bucket::new(Rate {
            burst: 20,
            interval: Duration::from_millis(20),
        });
        let start = Instant::now();
        for _ in 0..20 {
            tokio::time::sleep(bucket.take()).await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        for _ in 0..50 {
            tokio::time::sleep(bucket.take()).await;
        }
        assert!(
            start.elapsed() >= Duration::from_millis(900),
            "{:?}",
            start.elapsed()
        );
    }
}
