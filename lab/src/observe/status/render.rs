//! The status as text: parts on top, then one table, then one sentence. Pure.

use std::fmt::Write;

use comfy_table::{ContentArrangement, Table, presets};

use super::{Reach, Row, Status, Verdict};
use crate::report::plain;

pub(super) fn text(status: &Status) -> String {
    let mut text = String::new();
    for part in &status.parts {
        let mark = if part.trouble.is_none() {
            console::style("✓").green()
        } else {
            console::style("✗").red()
        };
        let pid = part.pid.map(|pid| format!("pid {pid}")).unwrap_or_default();
        let _ = writeln!(
            text,
            " {mark} {:23} {}",
            part.name,
            plain::word(part.trouble.as_deref().unwrap_or(&pid))
        );
    }
    text.push('\n');
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header([
        "ADDRESS", "NOMAD", "CONSUL", "KERNEL", "FORWARD", "WEIGHT", "ACTIVE", "INACT", "",
    ]);
    for row in &status.rows {
        table.add_row(cells(row));
    }
    let _ = writeln!(text, "{table}");
    text.push('\n');
    for (vip, reach) in &status.data_plane {
        let vip = plain::word(vip);
        let _ = match reach {
            Reach::Connects { millis } => {
                let mark = console::style("✓").green();
                writeln!(text, " {mark} {vip:23} connects in {millis:.1} ms")
            }
            Reach::Fails { why } => {
                let mark = console::style("✗").red();
                writeln!(text, " {mark} {vip:23} no connection: {}", plain::word(why))
            }
        };
    }
    text.push('\n');
    let differ = status
        .rows
        .iter()
        .filter(|row| row.verdict != Verdict::Agree)
        .count();
    let down: Vec<&str> = status
        .parts
        .iter()
        .filter(|part| part.trouble.is_some())
        .map(|part| part.name.as_str())
        .collect();
    let silent = status.data_plane.values();
    let silent = silent
        .filter(|reach| matches!(reach, Reach::Fails { .. }))
        .count();
    let _ = match (status.agree, differ, down.as_slice()) {
        (true, ..) => match status.rows.len() {
            1 => write!(text, "The three views agree on one address."),
            many => write!(text, "The three views agree on {many} addresses."),
        },
        (false, 0, []) if silent > 0 => write!(
            text,
            "The three views agree, and {silent} of {} VIPs take no connection.",
            status.data_plane.len()
        ),
        (false, 0, []) => write!(text, "A view could not be read."),
        (false, differ, []) => write!(text, "{differ} of {} addresses differ.", status.rows.len()),
        (false, _, down) => write!(text, "Down: {}. `cargo lab up` mends it.", down.join(", ")),
    };
    text
}

fn cells(row: &Row) -> [String; 9] {
    texts(row).map(|text| plain::word(&text).into_owned())
}

fn texts(row: &Row) -> [String; 9] {
    let none = || "-".to_owned();
    let real = row.real_server.as_ref();
    [
        row.address.to_string(),
        row.allocation.as_ref().map_or_else(none, |found| {
            format!(
                "{} {}/{}:{} {}",
                found.id.get(..8).unwrap_or(&found.id),
                found.job,
                found.group,
                found.label,
                found.state
            )
        }),
        row.instance
            .as_ref()
            .map_or_else(none, |found| format!("{} {}", found.service, found.health)),
        real.map_or_else(none, |found| found.vip.clone()),
        real.map_or_else(none, |found| found.forward.clone()),
        real.map_or_else(none, |found| found.weight.to_string()),
        real.map_or_else(none, |found| found.active.to_string()),
        real.map_or_else(none, |found| found.inactive.to_string()),
        match &row.verdict {
            Verdict::Agree => "agree".to_owned(),
            Verdict::Moving(why) => why.clone(),
            Verdict::Differ(why) => format!("DIFFER: {why}"),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::super::{Allocation, Instance, RealServer, parts::Part};
    use super::*;

    fn status() -> Status {
        let evil = "\x1b[2J\n✓\u{9b}31m";
        Status {
            parts: vec![Part {
                name: "fabric".to_owned(),
                pid: None,
                trouble: Some(evil.to_owned()),
            }],
            rows: vec![Row {
                address: "198.18.0.11:25000".parse().unwrap(),
                allocation: Some(Allocation {
                    id: "ä".repeat(5),
                    job: evil.to_owned(),
                    group: evil.to_owned(),
                    label: evil.to_owned(),
                    state: evil.to_owned(),
                }),
                instance: Some(Instance {
                    service: evil.to_owned(),
                    health: evil.to_owned(),
                    vips: [evil.to_owned()].into(),
                }),
                real_server: Some(RealServer {
                    address: "198.18.0.11:25000".parse().unwrap(),
                    vip: evil.to_owned(),
                    forward: evil.to_owned(),
                    weight: 1,
                    active: 0,
                    inactive: 0,
                }),
                verdict: Verdict::Differ(evil.to_owned()),
            }],
            data_plane: [(
                "tcp://198.18.0.29:80".to_owned(),
                Reach::Fails {
                    why: evil.to_owned(),
                },
            )]
            .into(),
            agree: false,
        }
    }

    #[test]
    fn no_name_of_others_reaches_the_terminal_as_it_is() {
        console::set_colors_enabled(false);
        let text = text(&status());
        let raw = text
            .chars()
            .filter(|char| char.is_control() && *char != '\n');
        assert_eq!(raw.count(), 0, "{text:?}");
        // Each row is one line: no name begins one.
        assert!(!text.lines().any(|line| line.starts_with('✓')), "{text}");
    }

    #[test]
    fn a_vip_that_takes_no_connection_is_told_though_the_views_agree() {
        let mut status = status();
        status.parts.clear();
        status.rows[0].verdict = Verdict::Agree;
        let text = text(&status);
        let sentence = "The three views agree, and 1 of 1 VIPs take no connection.";
        assert!(text.ends_with(sentence), "{text}");
    }
}
