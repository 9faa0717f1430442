//! What a running task costs: the plugin's proportional share of memory (PSS) with 1 and with 20 tasks, beside
//! Nomad's own helper processes.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use procfs::process::Process;

use crate::client::env;
use crate::experiment::{Experiment, Outcome};
use crate::host::command::run_command;
use crate::host::{netns, proc, wait};
use crate::observe::status;
use crate::part::job;
use crate::report::ui::Ui;
use crate::world::context::Lab;
use crate::world::topology::Node;

const MANY: usize = 20;

pub(super) struct Memory;

impl Experiment for Memory {
    fn hypothesis(&self) -> &'static str {
        "twenty tasks cost the plugin a few MiB more than one"
    }

    fn run(&self, lab: &Arc<Lab>, _ui: &Ui) -> Result<Outcome> {
        scale(lab, 1)?;
        let mut lines = vec![line(lab, 1)?];
        let scaled = scale(lab, MANY).and_then(|()| line(lab, MANY));
        scale(lab, 1)?;
        lines.push(scaled?);
        Ok(Outcome {
            lines,
            measurements: Vec::new(),
        })
    }
}

fn scale(lab: &Lab, count: usize) -> Result<()> {
    // Nomad refuses to scale while a deployment is under way.
    job::wait_deployed(lab, "hello-world")?;
    let nomad = lab.decisions().context("the lab isn't up")?.nomad;
    let mut command = Command::new(nomad);
    command.args([
        "job",
        "scale",
        "-detach",
        "hello-world",
        "servers",
        &count.to_string(),
    ]);
    run_command(command.envs(env::agents(lab)))?;
    let vip = lab.topology.vip().to_string();
    wait::until(
        &format!("wait for {count} instances"),
        Duration::from_mins(3),
        || {
            let rows = status::read(lab).rows;
            let running = rows.iter().filter(|row| {
                row.real_server
                    .as_ref()
                    .is_some_and(|real| real.vip.ends_with(&vip))
            });
            ensure!(running.count() == count, "not yet");
            Ok(())
        },
        || None,
    )
}

fn line(lab: &Lab, tasks: usize) -> Result<String> {
    let pids = netns::pids(&lab.topology.netns(Node::Node1.name()));
    let of = |matches: &dyn Fn(&str) -> bool| {
        pids.iter()
            .filter(|pid| matches(&proc::arguments(**pid).join(" ")))
            .map(|pid| pss(*pid))
            .collect::<Vec<_>>()
    };
    let plugin = of(&|command| command.ends_with("/plugins/docker"));
    let logmon = of(&|command| command.ends_with(" logmon"));
    let helpers = of(&|command| command.ends_with(" docker_logger"));
    ensure!(!plugin.is_empty(), "the plugin doesn't run");
    let mib = |kib: &[u32]| {
        kib.iter()
            .map(|kib| f64::from(*kib))
            .fold(0.0, |sum, kib| sum + kib)
            / 1024.0
    };
    Ok(format!(
        "{tasks} tasks: plugin {:.1} MiB PSS in {} process; logmon {:.1} MiB in {}; docker_logger {:.1} MiB in {}",
        mib(&plugin),
        plugin.len(),
        mib(&logmon),
        logmon.len(),
        mib(&helpers),
        helpers.len()
    ))
}

/// A process's proportional share of memory, in KiB.
pub(super) fn pss(pid: i32) -> u32 {
    let rollup = Process::new(pid).and_then(|process| process.smaps_rollup());
    let maps = rollup.map(|rollup| rollup.memory_map_rollup.0);
    let bytes = maps
        .iter()
        .flatten()
        .filter_map(|map| map.extension.map.get("Pss"))
        .sum::<u64>();
    u32::try_from(bytes / 1024).unwrap_or(u32::MAX)
}
