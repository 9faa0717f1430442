//! Waits that grow with each failure in a row. Nothing here is random: a client of a server that many ask adds its own jitter.

use std::time::Duration;

/// Counts failures in a row.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Default for Backoff {
    /// From 50 ms to 5 s.
    fn default() -> Self {
        Self::new(Duration::from_millis(50), Duration::from_secs(5))
    }
}

impl Backoff {
    /// Without a failure yet.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            failures: 0,
        }
    }

    /// How long to wait after one more failure: the first wait, doubled each time, up to the longest.
    pub fn fail(&mut self) -> Duration {
        let wait = self.first.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        wait.min(self.longest)
    }

    /// Whether the next failure is the first in a row.
    pub fn is_reset(&self) -> bool {
        self.failures == 0
    }

    /// Forgets the failures: it works again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_their_bound_and_start_again() {
        let mut backoff = Backoff::default();
        let waits: Vec<Duration> = (0..40).map(|_| backoff.fail()).collect();
        let doubled = |millis| Duration::from_millis(millis);
        assert_eq!(waits[..3], [doubled(50), doubled(100), doubled(200)]);
        assert_eq!(waits[39], Duration::from_secs(5));
        backoff.reset();
        assert_eq!(backoff.fail(), doubled(50));
    }
}
