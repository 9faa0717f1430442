//! What statistics of idle tasks cost: processor time of the plugin and of the engine with twenty tasks that sleep, under our
//! driver and under Nomad's own, in one run and with the same containers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::sleepers;
use crate::experiment::{Experiment, Measurement, Outcome};
use crate::host::{netns, proc};
use crate::part::nomad::{self, Driver};
use crate::report::ui::Ui;
use crate::supply::products::Products;
use crate::world::context::Lab;
use crate::world::topology::Node;

const TASKS: usize = 20;
const JOB: &str = "idle";
/// After a change of drivers: tasks are taken over, and the agent has nothing left to do.
const CALM: Duration = Duration::from_secs(15);
const WATCH_TIME: Duration = Duration::from_mins(1);
/// The kernel counts in hundredths of a second.
const TICKS: f64 = 100.0;

/// Whose time it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Plugin,
    Engine,
    /// The built-in driver is part of it.
    Agent,
    Helpers,
}

/// Hundredths of a second.
type Used = BTreeMap<Part, u64>;

pub(super) struct Stats;

impl Experiment for Stats {
    fn hypothesis(&self) -> &'static str {
        "statistics of idle tasks cost plugin and engine half of what they cost under Nomad's own driver"
    }

    fn run(&self, lab: &Arc<Lab>, _ui: &Ui) -> Result<Outcome> {
        sleepers::run(lab, JOB, TASKS)?;
        let measured = both(lab);
        sleepers::purge(lab, JOB)?;
        measured
    }
}

fn both(lab: &Lab) -> Result<Outcome> {
    let program = lab.decisions().context("the lab isn't up")?.nomad;
    let plugin = Products::find()?.driver;
    let change = |driver| nomad::up(lab, Node::Node1, &program, &plugin, driver).map(drop);
    let ours = watch(lab)?;
    let built_in = change(Driver::BuiltIn).and_then(|()| watch(lab));
    change(Driver::Ours)?;
    let built_in = built_in?;
    let seconds = |used: &Used, part| ticks(used, part) / TICKS;
    let line = |name: &str, used: &Used| {
        format!(
            "{TASKS} idle tasks, {} s, {name}: plugin {:.2} s, engine {:.2} s, agent {:.2} s, logmon and docker_logger {:.2} s of processor time",
            WATCH_TIME.as_secs(),
            seconds(used, Part::Plugin),
            seconds(used, Part::Engine),
            seconds(used, Part::Agent),
            seconds(used, Part::Helpers),
        )
    };
    let own = |used: &Used| ticks(used, Part::Plugin) + ticks(used, Part::Engine);
    let all = |used: &Used| own(used) + ticks(used, Part::Agent) + ticks(used, Part::Helpers);
    ensure!(
        own(&built_in) > 0.0,
        "the built-in driver's engine used no time: nothing was measured"
    );
    let ratio = own(&ours) / own(&built_in);
    Ok(Outcome {
        lines: vec![
            line("ours", &ours),
            line("built in", &built_in),
            format!(
                "everything of the node, ours of built in: {:.2}",
                all(&ours) / all(&built_in)
            ),
        ],
        measurements: vec![Measurement::at_most(
            0.5,
            "×",
            "plugin and engine, ours of built in",
            ratio,
        )],
    })
}

fn watch(lab: &Lab) -> Result<Used> {
    sleep(CALM);
    let before = used(lab)?;
    sleep(WATCH_TIME);
    let mut after = used(lab)?;
    for (part, ticks) in &mut after {
        *ticks = ticks.saturating_sub(before.get(part).copied().unwrap_or_default());
    }
    Ok(after)
}

#[expect(clippy::cast_precision_loss, reason = "a few thousand at most")]
fn ticks(used: &Used, part: Part) -> f64 {
    used.get(&part).copied().unwrap_or_default() as f64
}

fn used(lab: &Lab) -> Result<Used> {
    let mut used = Used::new();
    for pid in netns::pids(&lab.topology.netns(Node::Node1.name())) {
        let line = proc::arguments(pid).join(" ");
        if let (Some(part), Some(stat)) = (part(&line), proc::stat(pid)) {
            *used.entry(part).or_default() += stat.utime + stat.stime;
        }
    }
    ensure!(used.contains_key(&Part::Engine), "no engine runs on node1");
    Ok(used)
}

fn part(command: &str) -> Option<Part> {
    let program = command.split(' ').next()?.rsplit('/').next()?;
    Some(match program {
        "nomad" if command.ends_with(" logmon") || command.ends_with(" docker_logger") => {
            Part::Helpers
        }
        "nomad" => Part::Agent,
        "docker" if command.ends_with("/plugins/docker") => Part::Plugin,
        "dockerd" | "containerd" => Part::Engine,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_process_is_counted_where_it_belongs() {
        for (command, expected) in [
            ("/s/plugins/docker", Some(Part::Plugin)),
            ("/usr/bin/docker ps", None),
            ("/usr/sbin/dockerd --host=x", Some(Part::Engine)),
            ("containerd --config x", Some(Part::Engine)),
            ("/c/nomad agent -config=x", Some(Part::Agent)),
            ("/c/nomad logmon", Some(Part::Helpers)),
            ("/c/nomad docker_logger", Some(Part::Helpers)),
            ("sleep 100000", None),
            ("", None),
        ] {
            assert_eq!(part(command), expected, "{command}");
        }
    }
}
