//! Requests lost while instances come and go: through the VIP, and through Traefik in the same run.
//!
//! The server is the hardest to lose nothing with: it listens three seconds after its start, exits at once on SIGTERM, and
//! its job has no `shutdown_delay`. Every way gets the same open-loop stream of requests. Traefik runs twice, as it comes
//! (it asks Consul every 15 s) and with `watch`, which is the best that it can do.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::agents::{self, Agent};
use crate::command::run_command;
use crate::context::Lab;
use crate::load::{self, Load, Plan};
use crate::part::job;
use crate::paths;
use crate::process::{Daemon, Identity};
use crate::topology::Node;
use crate::ui::{Mode, Outcome, Ui};
use crate::{netns, status, wait};

/// Requests a second, each way.
const RATE: u32 = 200;
const JOB: &str = "late";

/// How long the streams go on after a change is over.
const AFTERWARDS: Duration = Duration::from_secs(5);

/// A way to the same instances.
struct Way {
    name: &'static str,
    load: Load,
    /// Answered and failed when the phase began.
    before: (u64, u64),
}

pub(super) fn measure(lab: &Lab) -> Result<Vec<String>> {
    let mut step = Ui::new(Mode::choose(false)).step("traefik");
    let traefik = agents::ensure(Agent::Traefik, &lab.person, &lab.paths.cache, &mut step)?;
    step.end(Outcome::Ok, &traefik.to_string());
    let gateways = [
        gateway(lab, &traefik.path, "traefik", 9081, &[]),
        gateway(
            lab,
            &traefik.path,
            "traefik-watch",
            9082,
            &["--providers.consulcatalog.watch=true"],
        ),
    ];
    let measured = phases(lab);
    for gateway in gateways.into_iter().flatten() {
        gateway.stop(Duration::from_secs(2));
    }
    nomad(lab, &["job", "stop", "-purge", "-detach", JOB])?;
    measured
}

/// Traefik beside the client, asking the lab's Consul.
fn gateway(
    lab: &Lab,
    program: &std::path::Path,
    name: &str,
    port: u16,
    more: &[&str],
) -> Result<Identity> {
    let consul = lab.topology.consul_url();
    let mut args = vec![
        format!("--entrypoints.web.address=127.0.0.1:{port}"),
        "--providers.consulcatalog=true".to_owned(),
        "--providers.consulcatalog.exposedByDefault=false".to_owned(),
        format!(
            "--providers.consulcatalog.endpoint.address={}",
            consul.trim_start_matches("http://")
        ),
        "--global.checkNewVersion=false".to_owned(),
    ];
    args.extend(more.iter().map(|&word| word.to_owned()));
    let daemon = Daemon {
        name,
        program,
        args,
        env: Vec::new(),
        netns: Some(lab.topology.netns(Node::Client.name())),
        log: lab.paths.log(name),
    };
    daemon.start()
}

fn phases(lab: &Lab) -> Result<Vec<String>> {
    let vip = lab.topology.second_vip();
    let of = |count: usize, release: &str| run(lab, count, release);
    of(5, "1")?;
    settled(lab, 5)?;
    let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let targets = [
        ("VIP", SocketAddr::V4(vip)),
        ("Traefik, as it comes", local(9081)),
        ("Traefik, watching", local(9082)),
    ];
    for (_, target) in targets {
        answers(lab, target)?;
    }
    let mut ways = Vec::new();
    for (name, target) in targets {
        let plan = Plan {
            target,
            rate: RATE,
            workers: 32,
            netns: lab.topology.netns(Node::Client.name()),
        };
        ways.push(Way {
            name,
            load: load::start(&plan)?,
            before: (0, 0),
        });
    }
    let mut lines = Vec::new();
    let changes: [(&str, usize, &str); 3] = [
        ("nothing happens", 5, "1"),
        ("rolling update of 5", 5, "2"),
        ("scale-down 5 to 2", 2, "2"),
    ];
    for (what, count, release) in changes {
        for way in &mut ways {
            way.before = way.load.so_far();
        }
        of(count, release)?;
        settled(lab, count)?;
        std::thread::sleep(AFTERWARDS);
        for way in &ways {
            let (answered, failed) = way.load.so_far();
            let (answered, failed) = (answered - way.before.0, failed - way.before.1);
            lines.push(format!(
                "{what}, {}: {failed} lost of {}",
                way.name,
                answered + failed
            ));
        }
    }
    for way in ways {
        let outcome = way.load.stop()?;
        lines.push(format!(
            "{}: {:.0} requests a second asked, median {:.1} ms, p99 {:.1} ms; first failures {:?}",
            way.name,
            outcome.rate(),
            millis(outcome.latency.value_at_quantile(0.5)),
            millis(outcome.latency.value_at_quantile(0.99)),
            outcome.failures.iter().take(2).collect::<Vec<_>>()
        ));
    }
    Ok(lines)
}

fn millis(micros: u64) -> f64 {
    f64::from(u32::try_from(micros).unwrap_or(u32::MAX)) / 1000.0
}

fn run(lab: &Lab, count: usize, release: &str) -> Result<()> {
    let file = paths::workspace().join(format!("jobs/{JOB}.nomad.hcl"));
    let vip = format!("vip={}", lab.topology.second_vip());
    let (count, release) = (format!("count={count}"), format!("release={release}"));
    let file = file.display().to_string();
    let words = [
        "job", "run", "-detach", "-var", &vip, "-var", &count, "-var", &release, &file,
    ];
    nomad(lab, &words)?;
    job::wait_deployed(lab, JOB)
}

fn nomad(lab: &Lab, words: &[&str]) -> Result<()> {
    let program = lab.decisions().context("the lab isn't up")?.nomad;
    let mut command = Command::new(program);
    run_command(
        command
            .args(words)
            .env("NOMAD_ADDR", lab.topology.nomad_url()),
    )
    .map(drop)
}

/// So many instances serve, and nothing else is there any more.
fn settled(lab: &Lab, count: usize) -> Result<()> {
    let vip = lab.topology.second_vip().to_string();
    wait::until(
        &format!("wait for {count} instances"),
        Duration::from_mins(2),
        || {
            let rows = status::read(lab).rows;
            let real = rows.iter().filter_map(|row| row.real_server.as_ref());
            let weights: Vec<u32> = real
                .filter(|real| real.vip.ends_with(&vip))
                .map(|real| real.weight)
                .collect();
            let serving = weights.iter().filter(|weight| **weight > 0).count();
            ensure!(
                serving == count && weights.len() == count,
                "weights {weights:?}"
            );
            Ok(())
        },
        || None,
    )
}

fn answers(lab: &Lab, target: SocketAddr) -> Result<()> {
    let client = lab.topology.netns(Node::Client.name());
    wait::until(
        &format!("wait for an answer of {target}"),
        Duration::from_secs(40),
        || netns::within(&client, || load::request(target))?,
        || None,
    )
}
