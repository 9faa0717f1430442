//! How old a quiet task's log is, and how large the plugin, beside four hostile tasks: endless output, a fork bomb, an exit
//! loop, and two hundred commands at once inside a fourth.
//!
//! The quiet one writes the machine's own uptime, so a line's age is known when it is seen in the log file. The same is
//! measured before the others come: Nomad's collector writes a line a tenth of a second after it has it.

mod commands;
mod witness;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{Series, memory};
use crate::experiment::{Experiment, Measurement, Outcome};
use crate::host::{paths, wait};
use crate::part::{job, nomad};
use crate::report::ui::{self, Ui};
use crate::world::context::Lab;
use crate::world::topology::Node;

use commands::Commands;
use witness::Witness;

const WITNESS: &str = "witness";
const HOSTILE: &str = "hostile";
const COMMANDS: usize = 200;
const TIME_ALONE: Duration = Duration::from_secs(20);
const TIME_BESIDE: Duration = Duration::from_mins(1);
/// For all four to be there.
const ARRIVAL_TIMEOUT: Duration = Duration::from_mins(1);
/// Between two looks at the log: finer than what is measured.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// Between two looks at the plugin's memory.
const MEMORY_LOOK: Duration = Duration::from_millis(500);

pub(super) struct Hostile;

impl Experiment for Hostile {
    fn hypothesis(&self) -> &'static str {
        "a quiet task's log is a quarter of a second old at most beside four hostile tasks, and the plugin stays below 40 MiB"
    }

    fn run(&self, lab: &Arc<Lab>, _ui: &Ui) -> Result<Outcome> {
        submit(lab, WITNESS)?;
        let measured = job::wait_deployed(lab, WITNESS).and_then(|()| beside(lab));
        // Both, whatever became of one of them.
        let ended = [HOSTILE, WITNESS].map(|job| job::purge(lab, job));
        let outcome = measured?;
        ended.into_iter().collect::<Result<Vec<()>>>()?;
        Ok(outcome)
    }
}

fn submit(lab: &Lab, job: &str) -> Result<()> {
    job::submit(
        lab,
        &paths::workspace().join(format!("jobs/{job}.nomad.hcl")),
    )
}

fn beside(lab: &Lab) -> Result<Outcome> {
    let witness = allocation(lab, WITNESS, WITNESS)?;
    let mut witness = Witness::of(&log_folder(lab, &witness), "clock")?;
    let alone = watch(lab, &mut witness, TIME_ALONE)?;
    submit(lab, HOSTILE)?;
    let inside = wait::until(
        "wait for the hostile tasks",
        ARRIVAL_TIMEOUT,
        || {
            for group in ["output", "forks"] {
                allocation(lab, HOSTILE, group)?;
            }
            allocation(lab, HOSTILE, "commands")
        },
        || None,
    )?;
    let commands = Commands::begin(lab, &inside, "inside", COMMANDS)?;
    ui::print(&format!("{COMMANDS} commands were asked for"));
    let beside = watch(lab, &mut witness, TIME_BESIDE)?;
    let commands = commands.end();
    ensure!(
        beside.lags.len() > 100,
        "the quiet task wrote only {} lines",
        beside.lags.len()
    );
    let lags = [
        Series::new("age of a quiet task's log, alone", alone.lags),
        Series::new(
            "age of a quiet task's log, beside four hostile tasks",
            beside.lags,
        ),
    ];
    Ok(Outcome {
        measurements: vec![
            Measurement::at_most(250.0, "ms", "age beside them, p99", lags[1].quantile(0.99)),
            Measurement::at_most(40.0, "MiB", "plugin beside them", beside.most_mib),
        ],
        lines: vec![
            lags[0].to_string(),
            lags[1].to_string(),
            format!(
                "plugin alone {:.1} MiB PSS, beside them {:.1} MiB at most",
                alone.most_mib, beside.most_mib
            ),
            format!(
                "of {COMMANDS} commands at once {} wrote, {} had not begun, {} were refused {}",
                commands.wrote, commands.wait, commands.refused, commands.why
            ),
        ],
    })
}

/// Milliseconds of each line, and the plugin's memory.
struct Samples {
    lags: Vec<f64>,
    most_mib: f64,
}

fn watch(lab: &Lab, witness: &mut Witness, time: Duration) -> Result<Samples> {
    // What is there already is older than this watch.
    witness.lags()?;
    let started = Instant::now();
    let mut memory_due = started;
    let mut samples = Samples {
        lags: Vec::new(),
        most_mib: 0.0,
    };
    while started.elapsed() < time {
        samples.lags.extend(witness.lags()?);
        if memory_due <= Instant::now() {
            memory_due += MEMORY_LOOK;
            let plugins = nomad::plugins(lab, Node::Node1);
            let kib: u32 = plugins.iter().map(|plugin| memory::pss(plugin.pid)).sum();
            samples.most_mib = samples.most_mib.max(f64::from(kib) / 1024.0);
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
    Ok(samples)
}

/// The id of a job's running allocation of this group.
fn allocation(lab: &Lab, job: &str, group: &str) -> Result<String> {
    let mut all = lab.nomad().allocations_of(job)?.into_iter();
    all.find(|found| found.task_group == group && found.client_status == "running")
        .map(|found| found.id)
        .with_context(|| format!("group {group} of job {job} does not run yet"))
}

fn log_folder(lab: &Lab, allocation: &str) -> std::path::PathBuf {
    let data = lab.state_of(Node::Node1).join("nomad/data/alloc");
    data.join(allocation).join("alloc/logs")
}
