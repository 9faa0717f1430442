//! Waits that grow with each failure in a row. Without chance: where many wait for one, the one who waits adds it.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(5);

/// Counts failures in a row.
#[derive(Debug, Clone, Copy, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// How long to wait after one more failure: from 50 ms, doubled each time, up to 5 s.
    pub fn failed(&mut self) -> Duration {
        let wait = FIRST.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        wait.min(LONGEST)
    }

    /// It works again.
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
        let waits: Vec<Duration> = (0..40).map(|_| backoff.failed()).collect();
        let doubled = |millis| Duration::from_millis(millis);
        assert_eq!(waits[..3], [doubled(50), doubled(100), doubled(200)]);
        assert_eq!(waits[39], LONGEST);
        backoff.reset();
        assert_eq!(backoff.failed(), FIRST);
    }
}
