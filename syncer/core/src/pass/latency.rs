//! How long changes took from their source's answer to the data plane's acknowledgement.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// A summary of all latencies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct AckLatency {
    pub count: u64,
    pub p50_us: u64,
    pub p99_us: u64,
    pub max_us: u64,
    /// The sum of all; not exact, for the histogram has three digits.
    #[serde(default)]
    pub sum_us: u64,
}

/// What took longer counts as this: ten minutes. A histogram without bounds grows for some ways to record and not for this.
const LONGEST_MICROS: u64 = 600_000_000;

/// All latencies, to three digits.
#[derive(Debug)]
pub(super) struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST_MICROS, 3);
        Self(histogram.expect("bounds that a histogram of three digits can have"))
    }
}

impl Latencies {
    /// Records one more latency, and renews the summary.
    pub(super) fn record(&mut self, took: Duration, summary: &mut AckLatency) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.0.saturating_record(micros);
        *summary = AckLatency {
            count: self.0.len(),
            p50_us: self.0.value_at_quantile(0.5),
            p99_us: self.0.value_at_quantile(0.99),
            max_us: self.0.max(),
            sum_us: summary.sum_us.saturating_add(micros),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_of_all_that_were_taken_in() {
        let (mut all, mut summary) = (Latencies::default(), AckLatency::default());
        for micros in [1500, 2500, 40_000] {
            all.record(Duration::from_micros(micros), &mut summary);
        }
        let AckLatency { count, sum_us, .. } = summary;
        assert_eq!((count, sum_us), (3, 44_000));
        let is_about = |value: u64, micros: u64| value.abs_diff(micros) <= micros / 1000;
        assert!(is_about(summary.p50_us, 2500) && is_about(summary.p99_us, 40_000));
        assert!(is_about(summary.max_us, 40_000), "{summary:?}");
        all.record(Duration::from_hours(5), &mut summary);
        assert!(is_about(summary.max_us, LONGEST_MICROS), "{summary:?}");
    }
}
