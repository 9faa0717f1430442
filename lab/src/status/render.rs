//! The status as text: parts on top, then one table, then one sentence. Pure.

use std::fmt::Write;

use comfy_table::{ContentArrangement, Table, presets};

use super::{Row, Status, Verdict};

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
            part.trouble.as_deref().unwrap_or(&pid)
        );
    }
    text.push('\n');
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header([
        "ADDRESS", "NOMAD", "CONSUL", "KERNEL", "WEIGHT", "ACTIVE", "INACT", "",
    ]);
    for row in &status.rows {
        table.add_row(cells(row));
    }
    let _ = writeln!(text, "{table}");
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
    let _ = match (status.agree, differ, down.as_slice()) {
        (true, ..) => match status.rows.len() {
            1 => write!(text, "The three views agree on one address."),
            many => write!(text, "The three views agree on {many} addresses."),
        },
        (false, 0, []) => write!(text, "A view could not be read."),
        (false, differ, []) => write!(text, "{differ} of {} addresses differ.", status.rows.len()),
        (false, _, down) => write!(text, "Down: {}. `cargo lab up` mends it.", down.join(", ")),
    };
    text
}

fn cells(row: &Row) -> [String; 8] {
    let none = || "-".to_owned();
    let real = row.real_server.as_ref();
    [
        row.address.to_string(),
        row.allocation.as_ref().map_or_else(none, |found| {
            format!(
                "{} {}/{}:{} {}",
                &found.id[..found.id.len().min(8)],
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
