//! How everything grows with the number of services: 1, 200, 2 000 and 10 000, each with five real servers.
//!
//! They are registered by a script on nodes that are made up, in the lab's own Consul, and ask for VIPs by their tags. The
//! real servers are addresses where nobody is: it is about the table and the way to it, not about requests. What is not
//! reached in time is told as such, and larger numbers are not tried.

mod registry;
mod resources;
mod watch;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::quantile;
use crate::host::wait;
use crate::part::syncer;
use crate::report::ui;
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

pub(super) fn measure(lab: &Lab) -> Result<Vec<String>> {
    let registry = Registry::open(lab)?;
    let mut lines = Vec::new();
    let mut first = None;
    for services in LEVELS {
        match level(lab, &registry, services, &mut first) {
            Ok(measured) => {
                for line in &measured {
                    ui::complain(line);
                }
                lines.extend(measured);
            }
            Err(error) => {
                lines.push(format!(
                    "{services} services: {error:#}; larger numbers are not tried"
                ));
                break;
            }
        }
    }
    registry.close()?;
    Ok(lines)
}

/// Everything at one number of services. `first` is the syncer's memory with a single one.
fn level(
    lab: &Lab,
    registry: &Registry<'_>,
    services: usize,
    first: &mut Option<u64>,
) -> Result<Vec<String>> {
    let begun = Instant::now();
    registry.grow(services)?;
    let registered = begun.elapsed();
    let followed = reaches(lab, services)?;
    let mut lines = vec![format!(
        "{services} services: registered within {:.1} s, all in the kernel {:.1} s after that",
        registered.as_secs_f64(),
        followed.as_secs_f64()
    )];
    lines.push(rest(lab, services, first)?);
    let to_and_fro = [First::Critical, First::Passing];
    lines.push(changes(lab, registry, services, "of health", to_and_fro)?);
    let to_and_fro = [First::Weight(2), First::Weight(1)];
    lines.push(changes(lab, registry, services, "of weight", to_and_fro)?);
    lines.push(cold_start(lab, services)?);
    if services == PROGRAMMED {
        lines.push(programming(lab, services)?);
    }
    Ok(lines)
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
fn rest(lab: &Lab, services: usize, first: &mut Option<u64>) -> Result<String> {
    // What follows a large change is not rest yet.
    std::thread::sleep(Duration::from_secs(5));
    let pid = syncer::director_pid(lab).context("the director's syncer was never started")?;
    let before = resources::processor(lab, pid)?;
    let log = resources::log_lines(lab)?;
    std::thread::sleep(REST);
    let used = resources::processor(lab, pid)?.saturating_sub(before);
    let log = resources::log_lines(lab)?.saturating_sub(log);
    let memory = resources::memory(lab, pid)?;
    let alone = *first.get_or_insert(memory);
    let more = u64::try_from(services)?.saturating_sub(1);
    let bytes = memory.saturating_sub(alone).saturating_mul(1024);
    let each = bytes.checked_div(more).map_or(String::new(), |bytes| {
        format!(" ({bytes} bytes a service above the first)")
    });
    Ok(format!(
        "{services} services at rest for {} s: {:.2} % of a core, {log} log lines, {} connections to Consul, PSS {} KiB{each}",
        REST.as_secs(),
        100.0 * used.as_secs_f64() / REST.as_secs_f64(),
        resources::connections(lab)?,
        memory,
    ))
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
    let summary = |mut millis: Vec<f64>| {
        millis.sort_by(f64::total_cmp);
        let at = |share| quantile(&millis, share);
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
fn programming(lab: &Lab, services: usize) -> Result<String> {
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
    Ok(format!(
        "programming {services} × {REALS}: the syncer's passes took {ours:.2} s, ipvsadm -R in the same guest {peer:.2} s ({:.2} ×); the longest pass so far {:.2} s",
        ours / peer,
        after.longest.as_secs_f64(),
    ))
}

fn in_kernel(lab: &Lab, script: &str) -> Result<String> {
    let limit = Duration::from_mins(3);
    let output = lab.kernel.capture_within(&["sh", "-c", script], limit)?;
    if output.code != 0 {
        bail!("{script}: {}", output.stderr.trim());
    }
    Ok(output.stdout)
}
