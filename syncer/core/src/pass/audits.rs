//! When the kernel is read although nobody has a reason to: so often that somebody else's hand is found soon, and so
//! seldom that reading a large table does not cost a processor.

use std::time::{Duration, Instant};

/// The pause between two audits is at least so many times as long as a read: half a hundredth of a processor.
const REST_PER_READ: u32 = 200;

/// The longest pause between two audits, however long a read takes.
const LONGEST_REST: Duration = Duration::from_mins(1);

/// The times of audits.
#[derive(Debug)]
pub(super) struct Audits {
    /// The interval as it is configured.
    shortest: Duration,
    interval: Duration,
    read_at: Instant,
}

impl Audits {
    pub(super) fn every(shortest: Duration, now: Instant) -> Self {
        Self {
            shortest,
            interval: shortest,
            read_at: now,
        }
    }

    /// Gives the time from one audit to the next.
    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    /// Notes that the kernel has just been read, for whatever reason.
    pub(super) fn read_took(&mut self, took: Duration, now: Instant) {
        let rest = took.saturating_mul(REST_PER_READ).min(LONGEST_REST);
        self.interval = self.shortest.max(rest);
        self.read_at = now;
    }

    /// Says when the next audit is due.
    pub(super) fn due(&self) -> Instant {
        self.read_at + self.interval
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "any moment will do to begin with"
)]
mod tests {
    use super::*;

    #[test]
    fn audits_come_as_often_as_is_configured_unless_a_read_takes_long() {
        let now = Instant::now();
        let millis = Duration::from_millis;
        let rows = [(0, 5_000), (25, 5_000), (80, 16_000), (2_000, 60_000)];
        for (read, interval) in rows {
            let mut audits = Audits::every(Duration::from_secs(5), now);
            assert_eq!(audits.due(), now + Duration::from_secs(5));
            let read_at = now + millis(read);
            audits.read_took(millis(read), read_at);
            assert_eq!(audits.due(), read_at + millis(interval), "{read}");
            assert_eq!(audits.interval(), millis(interval));
        }
        let mut seldom = Audits::every(Duration::from_hours(1), now);
        seldom.read_took(Duration::from_secs(2), now);
        assert_eq!(seldom.interval(), Duration::from_hours(1));
    }
}
