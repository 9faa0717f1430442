//! The status as lines for a person at a terminal.

use std::fmt::Write;

use super::{PlaceView, Status};
use crate::terminal::escaped;

/// What `ipvs-syncer status` prints. Each line is one line, whatever names and messages hold.
pub fn text(status: &Status) -> String {
    let mut text = String::new();
    // Writing into a String does not fail.
    let mut line = |line: String| {
        let _ = writeln!(text, "{}", escaped(&line));
    };
    let ready = if status.ready { "ready" } else { "not ready" };
    let stale = if status.stale {
        ", table from disk"
    } else {
        ""
    };
    line(format!(
        "ipvs-syncer {} {}: {ready}{stale}",
        status.version,
        status.roles.join("+")
    ));
    let wrong = if status.ready { "unwell" } else { "NOT READY" };
    for reason in &status.reasons {
        line(format!("  {wrong}: {reason}"));
    }
    for warning in &status.warnings {
        line(format!("  WARNING {warning}"));
    }
    for source in &status.sources {
        let age = source.age_ms.map_or_else(
            || "never read".to_owned(),
            |age| format!("read {age} ms ago"),
        );
        let error = source
            .error
            .as_ref()
            .map(|error| format!(", FAILING: {error}"))
            .unwrap_or_default();
        line(format!(
            "  {} {}: {age}{error}",
            source.name, source.address
        ));
    }
    if let Some(held) = &status.held {
        line(format!("  HELD for {} ms: {}", held.since_ms, held.reason));
    }
    for service in &status.services {
        let snat = if service.snat { "+snat" } else { "" };
        let (vip, scheduler, forward) = (&service.vip, service.scheduler, &service.forward);
        let options = service.options.iter().map(|option| format!(", {option}"));
        let options: String = options.collect();
        line(format!(
            "{}://{vip} {scheduler} {forward}{snat}{options}  {}",
            service.protocol, service.name
        ));
        for real in &service.real_servers {
            let number = |n: Option<u32>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
            line(format!(
                "  {:<22} {:<9} weight {:<4} active {:<5} inactive {:<5} {}",
                real.address,
                real.state,
                number(real.weight),
                number(real.active),
                number(real.inactive),
                real.why
            ));
        }
    }
    for rejection in &status.rejected {
        line(format!(
            "REJECTED {}: {}",
            rejection.service, rejection.reason
        ));
    }
    for registration in &status.registrations {
        let error = registration
            .error
            .as_ref()
            .map(|error| format!(": {error}"))
            .unwrap_or_default();
        line(format!(
            "{} {} {}{error}",
            registration.state, registration.name, registration.address
        ));
    }
    for take in &status.takes {
        let place = |place: &PlaceView| format!("{} ({})", place.address, place.share);
        let places: Vec<String> = take.instances.iter().map(place).collect();
        let places = match places.as_slice() {
            [] => "nothing new".to_owned(),
            places => places.join(", "),
        };
        line(format!("takes {} -> {places}", take.vip));
    }
    for port in &status.host_ports {
        line(format!("host port {} -> {}", port.host, port.container));
    }
    for failure in &status.errors {
        line(format!("error {} ms ago: {}", failure.age_ms, failure.what));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Rejection;

    #[test]
    fn a_name_can_t_forge_a_line_or_steer_a_terminal() {
        let status = Status {
            rejected: vec![Rejection {
                service: "web\nREJECTED nobody\u{1b}[2J".to_owned(),
                reason: "tag ipvs.vip=\r\u{9b}1;1H".to_owned(),
            }],
            ..Status::default()
        };
        let text = text(&status);
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| line.contains("REJECTED"))
            .collect();
        assert_eq!(
            lines,
            ["REJECTED web\\nREJECTED nobody\\u{1b}[2J: tag ipvs.vip=\\r\\u{9b}1;1H"]
        );
        assert!(
            !text.contains(|c: char| c.is_control() && c != '\n'),
            "{text:?}"
        );
    }
}
