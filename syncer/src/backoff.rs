//! Waits after failures for clients of a server that many ask: they grow, and jitter keeps clients apart.

use std::time::Duration;

use syncer_core::backoff;

/// Waits that grow with each failure in a row.
#[derive(Debug, Clone, Copy, Default)]
pub struct Backoff(backoff::Backoff);

impl Backoff {
    /// How long to wait after one more failure: doubled each time, and between half and all of it.
    pub fn fail(&mut self) -> Duration {
        let half = self.0.fail() / 2;
        half + half.mul_f64(random_share())
    }

    /// Forgets the failures: it works again.
    pub fn reset(&mut self) {
        self.0.reset();
    }
}

/// From 0 to 1.
fn random_share() -> f64 {
    let bits = uuid::Uuid::new_v4().as_bytes()[0];
    f64::from(bits) / 255.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_grows_to_its_bound_and_starts_again() {
        let mut backoff = Backoff::default();
        let waits: Vec<Duration> = (0..20).map(|_| backoff.fail()).collect();
        let (first, longest) = (Duration::from_millis(50), Duration::from_secs(5));
        assert!(waits[0] <= first && waits[0] >= first / 2);
        assert!(waits.iter().all(|wait| *wait <= longest));
        assert!(waits[19] >= longest / 2);
        backoff.reset();
        assert!(backoff.fail() <= first);
    }
}
