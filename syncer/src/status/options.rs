//! The options of a virtual service that are not as by default, in words.

use std::time::Duration;

use ipvs::{Persistence, ServiceFlags, ServiceSettings, Thresholds};
use syncer_core::model::safeguard::{Percent, Safeguards};

/// A word or two for each.
pub(super) fn words(settings: &ServiceSettings, safeguards: &Safeguards) -> Vec<String> {
    let mut words = Vec::new();
    let scheduler = settings.scheduler;
    for (flag, name) in [
        (ServiceFlags::FALLBACK, "fallback"),
        (ServiceFlags::PORT, "port"),
    ] {
        if settings.flags.contains(flag) {
            words.push(format!("{scheduler}-{name}"));
        }
    }
    if settings.flags.contains(ServiceFlags::ONE_PACKET) {
        words.push("one packet".to_owned());
    }
    if let Some(Persistence { seconds, prefix }) = settings.persistence {
        words.push(format!("persistent {seconds}s by /{prefix}"));
    }
    let Thresholds { upper, lower } = safeguards.thresholds;
    match (upper, lower) {
        (0, _) => {}
        (_, 0) => words.push(format!("at most {upper} connections")),
        _ => words.push(format!("at most {upper} connections, again below {lower}")),
    }
    if safeguards.least_healthy > Percent::default() {
        words.push(format!("least healthy {}", safeguards.least_healthy));
    }
    if let Some(time) = safeguards.slow_start {
        words.push(format!("slow start {}", seconds(time)));
    }
    if let Some(address) = safeguards.sorry_server {
        words.push(format!("sorry server {address}"));
    }
    words
}

fn seconds(time: Duration) -> String {
    format!("{}s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_as_by_default_is_not_named() {
        let plain = ServiceSettings::new("sh".parse().unwrap());
        assert!(words(&plain, &Safeguards::default()).is_empty());
    }

    #[test]
    fn each_option_has_its_words() {
        let settings = ServiceSettings {
            flags: ServiceFlags::FALLBACK
                .with(ServiceFlags::PORT)
                .with(ServiceFlags::ONE_PACKET),
            persistence: Some(Persistence {
                seconds: 300,
                prefix: 24,
            }),
            ..ServiceSettings::new("sh".parse().unwrap())
        };
        let safeguards = Safeguards {
            thresholds: Thresholds {
                upper: 100,
                lower: 80,
            },
            least_healthy: Percent::of_share(0.5).unwrap(),
            slow_start: Some(Duration::from_millis(1_500)),
            sorry_server: Some("198.18.0.11:8099".parse().unwrap()),
        };
        assert_eq!(
            words(&settings, &safeguards),
            [
                "sh-fallback",
                "sh-port",
                "one packet",
                "persistent 300s by /24",
                "at most 100 connections, again below 80",
                "least healthy 50 %",
                "slow start 1.5s",
                "sorry server 198.18.0.11:8099",
            ]
        );
    }
}
