//! Figures in Prometheus' text format (version 0.0.4): each family with its help and type, in base units.
//!
//! Beside them the distribution of "Consul's answer arrived → the kernel acknowledged", which the status shows too.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};

use super::Status;

/// States of real servers, as [`super::RealServerView::state`] has them.
const STATES: [&str; 7] = [
    "active", "warming", "quiesced", "draining", "waiting", "held", "failed",
];

#[derive(Clone, Copy)]
enum Kind {
    Gauge,
    Counter,
    Summary,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Summary => "summary",
        }
    }
}

/// The text as far as it is written.
struct Exposition(String);

impl Exposition {
    /// Begins a family; its samples follow.
    fn family(&mut self, kind: Kind, name: &'static str, help: &str) -> Family<'_> {
        // Writing into a String does not fail.
        let _ = writeln!(self.0, "# HELP ipvs_syncer_{name} {help}");
        let _ = writeln!(self.0, "# TYPE ipvs_syncer_{name} {}", kind.word());
        Family {
            text: &mut self.0,
            name,
        }
    }

    fn gauge(&mut self, name: &'static str, help: &str, value: impl Display) {
        self.family(Kind::Gauge, name, help).sample("", &[], value);
    }
}

struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Family<'_> {
    fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        let _ = write!(self.text, "ipvs_syncer_{}{suffix}", self.name);
        for (position, (name, value)) in labels.iter().enumerate() {
            let opening = if position == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{opening}{name}=\"");
            for character in value.chars() {
                match character {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    other => self.text.push(other),
                }
            }
            self.text.push('"');
        }
        let closing = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{closing} {value}");
    }
}

/// Prometheus' text format.
pub fn metrics(status: &Status) -> String {
    let mut text = Exposition(String::new());
    let (ready, healthy, stale) = (status.ready, status.healthy, status.stale);
    text.gauge(
        "ready",
        "Whether the data plane is known to do what the sources say.",
        u8::from(ready),
    );
    text.gauge(
        "healthy",
        "Whether nothing needs a look.",
        u8::from(healthy),
    );
    text.gauge(
        "stale",
        "Whether the table comes from the disk.",
        u8::from(stale),
    );
    text.gauge(
        "uptime_seconds",
        "Time since the syncer started.",
        millis(status.uptime_ms),
    );
    text.gauge(
        "errors",
        "Different errors that are kept for the status.",
        status.errors.len(),
    );
    text.gauge(
        "host_ports",
        "Host ports that lead to containers without the engine.",
        status.host_ports.len(),
    );
    if let Some(pass) = &status.pass {
        director(&mut text, status, pass);
    }
    sources(&mut text, status);
    real_servers(&mut text, status);
    text.0
}

fn director(text: &mut Exposition, status: &Status, pass: &super::Pass) {
    text.family(
        Kind::Counter,
        "passes_total",
        "Passes of the director's loop.",
    )
    .sample("", &[], pass.number);
    text.family(
        Kind::Counter,
        "passes_seconds_total",
        "Time that all passes took together.",
    )
    .sample("", &[], micros(pass.total_us));
    text.gauge(
        "pass_longest_seconds",
        "How long the longest pass of this process took.",
        micros(pass.longest_us),
    );
    text.gauge(
        "pass_age_seconds",
        "Time since the last pass ended.",
        millis(pass.age_ms),
    );
    text.gauge(
        "pass_duration_seconds",
        "How long the last pass took.",
        micros(pass.duration_us),
    );
    text.gauge(
        "pass_failed_steps",
        "Steps of the last pass that failed.",
        pass.failed,
    );
    text.gauge(
        "rejected_services",
        "Services that get no virtual service, and instances left out.",
        status.rejected.len(),
    );
    text.gauge(
        "services_unread",
        "Services that are followed and have not been read.",
        status.services_unread,
    );
    text.gauge(
        "drift",
        "Differences of the data plane that have not been put right.",
        status.drift.len(),
    );
    let held = status.held.as_ref().map_or(0, |held| held.real_servers);
    text.gauge(
        "held_real_servers",
        "Real servers that the shrink guard keeps.",
        held,
    );
    let ack = &status.kernel_ack;
    let mut family = text.family(
        Kind::Summary,
        "kernel_ack_seconds",
        "From the arrival of Consul's answer to the kernel's acknowledgement.",
    );
    for (quantile, value) in [("0.5", ack.p50_us), ("0.99", ack.p99_us), ("1", ack.max_us)] {
        family.sample("", &[("quantile", quantile)], micros(value));
    }
    family.sample("_sum", &[], micros(ack.sum_us));
    family.sample("_count", &[], ack.count);
}

fn sources(text: &mut Exposition, status: &Status) {
    if status.sources.is_empty() {
        return;
    }
    let mut family = text.family(
        Kind::Gauge,
        "source_synced",
        "Whether the source has been read.",
    );
    for source in &status.sources {
        family.sample("", &[("source", &source.name)], u8::from(source.synced));
    }
    let mut family = text.family(
        Kind::Gauge,
        "source_failing",
        "Whether the source can't be read now.",
    );
    for source in &status.sources {
        let failing = u8::from(source.error.is_some());
        family.sample("", &[("source", &source.name)], failing);
    }
    let read = |source: &&super::Source| source.age_ms.is_some();
    if status.sources.iter().any(|source| read(&source)) {
        let help =
            "Time since the source last answered; without a change it answers once a minute.";
        let mut family = text.family(Kind::Gauge, "source_age_seconds", help);
        for source in status.sources.iter().filter(read) {
            let age = millis(source.age_ms.unwrap_or_default());
            family.sample("", &[("source", &source.name)], age);
        }
    }
}

fn real_servers(text: &mut Exposition, status: &Status) {
    if status.services.is_empty() {
        return;
    }
    let help = "Real servers of a virtual service by what they do.";
    let mut family = text.family(Kind::Gauge, "real_servers", help);
    for service in &status.services {
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        for real in &service.real_servers {
            *counts.entry(real.state.as_str()).or_default() += 1;
        }
        for state in STATES {
            let labels = [
                ("vip", service.vip.as_str()),
                ("protocol", service.protocol.as_str()),
                ("state", state),
            ];
            family.sample("", &labels, counts.get(state).copied().unwrap_or_default());
        }
    }
}

/// In seconds.
fn millis(millis: u64) -> impl Display {
    seconds(u128::from(millis).saturating_mul(1000))
}

/// In seconds.
fn micros(micros: u64) -> impl Display {
    seconds(u128::from(micros))
}

fn seconds(micros: u128) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

#[cfg(test)]
mod tests;
