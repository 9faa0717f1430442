//! The plugin is killed under fifty running tasks: how soon all are its again, and whether one of them noticed.
//!
//! The end is the time stamp of the last "recovered task" in the agent's log, the beginning the moment when the new
//! process was there. Containers are compared before and after, so a task that was restarted shows.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::sleepers;
use crate::client::docker;
use crate::experiment::{Experiment, Measurement, Outcome};
use crate::host::wait;
use crate::part::nomad;
use crate::report::ui::Ui;
use crate::world::context::Lab;
use crate::world::topology::Node;

const TASKS: usize = 50;
const JOB: &str = "sleepers";

/// What the driver says of each.
const WORDS: &str = "recovered task";

pub(super) struct Recover;

impl Experiment for Recover {
    fn hypothesis(&self) -> &'static str {
        "a plugin that was killed has its fifty tasks again within a second, and none of them noticed"
    }

    fn run(&self, lab: &Arc<Lab>, _ui: &Ui) -> Result<Outcome> {
        sleepers::run(lab, JOB, TASKS)?;
        let measured = killed(lab);
        sleepers::purge(lab, JOB)?;
        measured
    }
}

fn killed(lab: &Lab) -> Result<Outcome> {
    let before = containers(lab)?;
    ensure!(
        before.len() >= TASKS,
        "only {} containers run",
        before.len()
    );
    let log = lab.paths.log("nomad");
    let read = || fs::read_to_string(&log).with_context(|| format!("read {}", log.display()));
    let known = read()?.len();
    let old = nomad::plugins(lab, Node::Node1);
    for plugin in &old {
        plugin.signal(Signal::SIGKILL);
    }
    let kill = now()?;
    let mut back = kill;
    wait::until(
        "wait for the new plugin",
        Duration::from_mins(1),
        || {
            let new = nomad::plugins(lab, Node::Node1);
            let is_new = new.iter().any(|plugin| !old.contains(plugin));
            ensure!(is_new, "Nomad has not started it yet");
            back = now()?;
            Ok(())
        },
        || None,
    )?;
    let mut last = String::new();
    wait::until(
        "wait for all tasks to be recovered",
        Duration::from_mins(1),
        || {
            let text = read()?;
            let lines = text.get(known..).unwrap_or_default().lines();
            let recovered: Vec<&str> = lines.filter(|line| line.contains(WORDS)).collect();
            ensure!(
                recovered.len() >= before.len(),
                "{} so far",
                recovered.len()
            );
            (*recovered.get(before.len() - 1).unwrap_or(&"")).clone_into(&mut last);
            Ok(())
        },
        || None,
    )?;
    let done = stamp(&last).with_context(|| format!("no time in {last:?}"))?;
    let same = containers(lab)? == before;
    ensure!(same, "containers changed: a task was restarted");
    let recovered = (done - back) * 1000.0;
    Ok(Outcome {
        lines: vec![format!(
            "plugin killed with {} tasks: new process after {:.0} ms, all recovered {recovered:.0} ms after that, no task restarted",
            before.len(),
            (back - kill) * 1000.0,
        )],
        measurements: vec![Measurement::at_most(
            1000.0,
            "ms",
            "until all are recovered",
            recovered,
        )],
    })
}

fn containers(lab: &Lab) -> Result<Vec<String>> {
    let ids = docker::docker(lab, Node::Node1, &["ps", "--quiet", "--no-trunc"])?;
    let mut ids: Vec<String> = ids.split_whitespace().map(str::to_owned).collect();
    ids.sort();
    Ok(ids)
}

fn now() -> Result<f64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64())
}

/// Seconds of the day are enough of `2026-11-25T01:20:07.123Z` to compare with a clock that runs beside it.
fn stamp(line: &str) -> Option<f64> {
    let time = line.trim_start().get(11..)?.split('Z').next()?;
    let mut parts = time.split(':').map(|part| part.parse::<f64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    let of_day = (hours * 60.0 + minutes) * 60.0 + seconds;
    let now = now().ok()?;
    let midnight = now - now.rem_euclid(86_400.0);
    Some(midnight + of_day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_line_of_the_agents_log_is_read_to_the_millisecond() {
        let at = stamp("    2026-11-25T01:20:07.123Z [INFO]  client: recovered task").unwrap();
        let of_day = at.rem_euclid(86_400.0);
        assert!((of_day - 4807.123).abs() < 0.001, "{of_day}");
        assert_eq!(stamp("no time"), None);
        assert_eq!(stamp(""), None);
    }
}
