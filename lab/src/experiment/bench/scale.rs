//! How everything grows with the number of services: 1, 200, 2 000 and 10 000, each with five real servers.
//!
//! They are registered by a script on nodes that are made up, in the lab's own Consul, and ask for VIPs by their tags. The
//! real servers are addresses where nobody is: it is about the table and the way to it, not about requests. What is not
//! reached in time is told as such, and larger numbers are not tried.

mod registry;
mod resources;
mod watch;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::Series;
use crate::experiment::{Experiment, Measurement, Outcome};
use crate::host::wait;
use crate::part::syncer;
use crate::report::ui::{self, Ui};
use crate::supply::products;
use crate::supply::products::Products;
use crate::world::context::Lab;

use registry::{First, Registry};
pub use watch::watch;

const LEVELS: [usize; 4] = [1, 200, 2_000, 10_000];

/// Real servers of each service.
const REALS: usize = 5;

/// Of these the peer programs as many.
const PROGRAMMED: usize = 2_000;

/// How long the syncer is watched while nothing happens: longer than the longest time between two audits.
const REST: Duration = Duration::from_secs(75);

pub(super) struct Scale;

impl Experiment for Scale {
    fn hypothesis(&self) -> &'static str {
        "with thousands of services the syncer rests, keeps few connections, and programs them faster than ipvsadm"
    }

    fn run(&self, lab: &Arc<Lab>, _ui: &Ui) -> Result<Outcome> {
        let registry = Registry::open(lab)?;
        let mut outcome = Outcome::default();
        let mut first = None;
        for services in LEVELS {
            match level(lab, &registry, services, &mut first) {
                Ok(measured) => {
                    for line in &measured.lines {
                        ui::complain(line);
                    }
                    outcome.extend([measured]);
                }
                Err(error) => {
                    outcome.lines.push(format!(
                        "{services} services: {error:#}; larger numbers are not tried"
                    ));
                    break;
                }
            }
        }
        registry.close()?;
        Ok(outcome)
    }
}

/// Everything at one number of services. `first` is the syncer's memory with a single one.
fn level(
    lab: &Lab,
    registry: &Registry<'_>,
    services: usize,
    first: &mut Option<u64>,
) -> Result<Outcome> {
    let begun = Instant::now();
    registry.grow(services)?;
    let registered = begun.elapsed();
    let followed = reaches(lab, services)?;
    let mut outcome = Outcome::default();
    outcome.lines.push(format!(
        "{services} services: registered within {:.1} s, all in the kernel {:.1} s after that",
        registered.as_secs_f64(),
        followed.as_secs_f64()
    ));
    outcome.extend([rest(lab, services, first)?]);
    let to_and_fro = [First::Critical, First::Passing];
    let of_health = changes(lab, registry, services, "of health", to_and_fro)?;
    let to_and_fro = [First::Weight(2), First::Weight(1)];
    let of_weight = changes(lab, registry, services, "of weight", to_and_fro)?;
    outcome
        .lines
        .extend([of_health, of_weight, cold_start(lab, services)?]);
    if services == PROGRAMMED {
        outcome.extend([programming(lab, services)?]);
    }
    Ok(outcome)
}

/// Waits until the kernel has them all; how long that took.
fn reaches(lab: &Lab, services: usize) -> Result<Duration> {
    let begun = Instant::now();
    let limit = Duration::from_mins(1) + Duration::from_millis(20) * u32::try_from(services)?;
    let wanted = services * REALS;
    wait::until(
        &format!("wait for {services} services in the kernel"),
        limit,
        || {
            let registered = count(lab)?;
            ensure!(
                registered == wanted,
                "{registered} of {wanted} real servers are there"
            );
            Ok(())
        },
        || None,
    )?;
    Ok(begun.elapsed())
}

/// Real servers of the bench's VIP that are sent to.
fn count(lab: &Lab) -> Result<usize> {
    let program = products::lab()?.display().to_string();
    let vip = lab.topology.third_vip().to_string();
    let output = lab
        .kernel
        .capture(&[&program, "internal", "ipvs-count", &vip])?;
    ensure!(output.code == 0, "count: {}", output.stderr.trim());
    output.stdout.trim().parse().context("a count")
}

/// What the syncer costs while nothing happens.
fn rest(lab: &Lab, services: usize, first: &mut Option<u64>) -> Result<Outcome> {
    // What follows a large change is not rest yet.
    std::thread::sleep(Duration::from_secs(5));
    let pid = syncer::director_pid(lab).context("the director's syncer was never started")?;
    let before = resources::processor(lab, pid)?;
    let log = resources::log_lines(lab)?;
    std::thread::sleep(REST);
    let used = resources::processor(lab, pid)?.saturating_sub(before);
    let log = resources::log_lines(lab)?.saturating_sub(log);
    let memory = resources::memory(lab, pid)?;
    let connections = resources::connections(lab)?;
    let share = 100.0 * used.as_secs_f64() / REST.as_secs_f64();
    let mut outcome = Outcome::default();
    outcome.lines.push(format!(
        "{services} services at rest for {} s: {share:.2} % of a core, {log} log lines, {connections} connections to Consul, PSS {memory} KiB",
        REST.as_secs(),
    ));
    let at = |what: &str| format!("{services} services: {what}");
    let count = |count: usize| u32::try_from(count).map(f64::from);
    outcome.measurements.extend([
        Measurement::at_most(1.0, "%", at("of a core at rest"), share),
        Measurement::at_most(0.0, "lines", at("logged at rest"), count(log)?),
        Measurement::at_most(16.0, "connections", at("to Consul"), count(connections)?),
    ]);
    let alone = *first.get_or_insert(memory);
    if let Ok(more @ 1..) = u32::try_from(services.saturating_sub(1)) {
        let kib = u32::try_from(memory.saturating_sub(alone)).map(f64::from)?;
        let each = kib / f64::from(more);
        let what = at("PSS of a service above the first");
        outcome
            .measurements
            .push(Measurement::at_most(8.0, "KiB", what, each));
    }
    Ok(outcome)
}

/// From a change in Consul to the kernel.
fn changes(
    lab: &Lab,
    registry: &Registry<'_>,
    services: usize,
    what: &str,
    turns: watch::Turns,
) -> Result<String> {
    let latencies = watch::changes(lab, registry, services, turns)?;
    let summary = |millis: Vec<f64>| {
        let series = Series::new("", millis);
        let at = |share| series.quantile(share);
        format!(
            "p50 {:.1}, p99 {:.1}, max {:.1} ms",
            at(0.5),
            at(0.99),
            at(1.0)
        )
    };
    Ok(format!(
        "{services} services, {} of {} changes {what}: first answer → kernel {}; asked of Consul → kernel {}",
        latencies.from_answer.len(),
        watch::CHANGES,
        summary(latencies.from_answer),
        summary(latencies.from_asking),
    ))
}

/// A director that has nothing: no table, nothing on disk.
fn cold_start(lab: &Lab, services: usize) -> Result<String> {
    syncer::director_end(lab)?;
    in_kernel(lab, "ipvsadm -C")?;
    let state = lab.paths.state.join("director/state");
    match std::fs::remove_dir_all(&state) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove {}", state.display()));
        }
        _ => {}
    }
    let begun = Instant::now();
    syncer::director_spawn(lab, &Products::find()?.syncer)?;
    reaches(lab, services)?;
    Ok(format!(
        "{services} services, cold start: all in the kernel after {:.1} s",
        begun.elapsed().as_secs_f64()
    ))
}

/// The same table by `ipvsadm -R`, and by the syncer when it finds that somebody has flushed it.
fn programming(lab: &Lab, services: usize) -> Result<Outcome> {
    syncer::director_end(lab)?;
    let vip = lab.topology.third_vip();
    let script = format!(
        "ipvsadm -Sn | grep -F ' {vip}:' > /run/scale.rules && ipvsadm -C && \
         begun=$(date +%s%N) && ipvsadm -R < /run/scale.rules && echo $(( $(date +%s%N) - begun ))"
    );
    let nanos: f64 = in_kernel(lab, &script)?.trim().parse().context("a time")?;
    let peer = nanos / 1e9;
    syncer::director_spawn(lab, &Products::find()?.syncer)?;
    reaches(lab, services)?;
    // It has made its first pass, and the flush is found by the next audit.
    std::thread::sleep(Duration::from_secs(2));
    let before = resources::passes(lab)?;
    in_kernel(lab, "ipvsadm -C")?;
    reaches(lab, services)?;
    // The pass that did it has not told of itself yet.
    std::thread::sleep(Duration::from_secs(3));
    let after = resources::passes(lab)?;
    let ours = after.total.saturating_sub(before.total).as_secs_f64();
    let line = format!(
        "programming {services} × {REALS}: the syncer's passes took {ours:.2} s, ipvsadm -R in the same guest {peer:.2} s; the longest pass so far {:.2} s",
        after.longest.as_secs_f64(),
    );
    let what = format!("programming {services} × {REALS}, of ipvsadm -R");
    Ok(Outcome {
        lines: vec![line],
        measurements: vec![Measurement::at_most(0.7, "×", what, ours / peer)],
    })
}

fn in_kernel(lab: &Lab, script: &str) -> Result<String> {
    let limit = Duration::from_mins(3);
    let output = lab.kernel.capture_within(&["sh", "-c", script], limit)?;
    if output.code != 0 {
        bail!("{script}: {}", output.stderr.trim());
    }
    Ok(output.stdout)
}
