//! Figures: the distribution of "Consul's answer arrived → the kernel acknowledged", and Prometheus' text format.

use std::fmt::Write;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::Status;

/// A summary of how long changes took from Consul's answer to the kernel's acknowledgement.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Acknowledged {
    pub count: u64,
    pub p50_us: u64,
    pub p99_us: u64,
    pub max_us: u64,
}

impl From<&Histogram<u64>> for Acknowledged {
    fn from(histogram: &Histogram<u64>) -> Self {
        Self {
            count: histogram.len(),
            p50_us: histogram.value_at_quantile(0.5),
            p99_us: histogram.value_at_quantile(0.99),
            max_us: histogram.max(),
        }
    }
}

/// Prometheus' text format.
pub fn metrics(status: &Status) -> String {
    let mut text = String::new();
    let mut one = |name: &str, labels: &str, value: u64| {
        // Writing into a String does not fail.
        let _ = writeln!(text, "ipvs_syncer_{name}{labels} {value}");
    };
    one("ready", "", u64::from(status.ready));
    one("stale", "", u64::from(status.stale));
    one("rejected_services", "", status.rejected.len() as u64);
    one("errors", "", status.errors.len() as u64);
    one(
        "held_real_servers",
        "",
        status
            .held
            .as_ref()
            .map_or(0, |held| held.real_servers as u64),
    );
    if let Some(pass) = &status.pass {
        one("passes_total", "", pass.number);
        one("pass_duration_microseconds", "", pass.duration_us);
        one("pass_failed_steps", "", pass.failed as u64);
    }
    for source in &status.sources {
        let labels = format!("{{source=\"{}\"}}", source.name);
        one("source_synced", &labels, u64::from(source.synced));
        one("source_failing", &labels, u64::from(source.error.is_some()));
        if let Some(age) = source.age_ms {
            one("source_age_milliseconds", &labels, age);
        }
    }
    for service in &status.services {
        for state in [
            "active", "warming", "quiesced", "draining", "waiting", "held", "failed",
        ] {
            let count = service
                .real_servers
                .iter()
                .filter(|real| real.state == state)
                .count();
            let labels = format!(
                "{{vip=\"{}\",protocol=\"{}\",state=\"{state}\"}}",
                service.vip, service.protocol
            );
            one("real_servers", &labels, count as u64);
        }
    }
    let ack = status.kernel_ack;
    one("kernel_ack_microseconds_count", "", ack.count);
    for (quantile, value) in [("0.5", ack.p50_us), ("0.99", ack.p99_us), ("1", ack.max_us)] {
        one(
            "kernel_ack_microseconds",
            &format!("{{quantile=\"{quantile}\"}}"),
            value,
        );
    }
    text
}
