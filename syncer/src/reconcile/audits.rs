//! When the kernel is read although nobody has a reason to: so often that somebody else's hand is found soon, and so
//! seldom that reading a large table does not cost a processor.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Between two audits at least so many times as long as a read takes: half a hundredth of a processor.
const REST_PER_READ: u32 = 200;

/// However long a read takes, the next one comes after that.
const LONGEST: Duration = Duration::from_mins(1);

/// The timer of audits.
#[derive(Debug)]
pub(super) struct Audits {
    /// As configured.
    shortest: Duration,
    interval: Duration,
    read_at: Instant,
}

impl Audits {
    pub(super) fn every(shortest: Duration) -> Self {
        Self {
            shortest,
            interval: shortest,
            read_at: Instant::now(),
        }
    }

    /// From one audit to the next.
    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    /// The kernel has just been read, for whatever reason.
    pub(super) fn read_took(&mut self, took: Duration) {
        let rest = took.saturating_mul(REST_PER_READ).min(LONGEST);
        self.interval = self.shortest.max(rest);
        self.read_at = Instant::now();
    }

    /// Completes when an audit is due. Cancel-safe: it only waits.
    pub(super) async fn due(&self) {
        sleep_until(self.read_at + self.interval).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn audits_come_as_often_as_is_configured_unless_a_read_takes_long() {
        let rows = [(0, 5_000), (25, 5_000), (80, 16_000), (2_000, 60_000)];
        for (read, interval) in rows {
            let mut audits = Audits::every(Duration::from_secs(5));
            audits.read_took(Duration::from_millis(read));
            let begun = Instant::now();
            audits.due().await;
            assert_eq!(begun.elapsed(), Duration::from_millis(interval), "{read}");
            assert_eq!(audits.interval(), Duration::from_millis(interval));
        }
        let mut seldom = Audits::every(Duration::from_hours(1));
        seldom.read_took(Duration::from_secs(2));
        assert_eq!(seldom.interval(), Duration::from_hours(1));
    }
}
