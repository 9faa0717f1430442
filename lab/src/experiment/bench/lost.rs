//! Requests lost while instances come and go: through the VIP, and through Traefik in the same run.
//!
//! The server is the hardest to lose nothing with: it listens three seconds after its start, exits at once on SIGTERM, and
//! its job has no `shutdown_delay`. Every way gets the same open-loop stream of requests. Traefik runs twice, as it comes
//! (it asks Consul every 15 s) and with `watch`, which is the best that it can do.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::overflow::Overflows;
use crate::client::env;
use crate::experiment::{Experiment, Measurement, Outcome};
use crate::host::command::run_command;
use crate::host::paths;
use crate::host::process::{Daemon, Identity};
use crate::host::{netns, wait};
use crate::observe::load::{self, Load, Plan};
use crate::observe::status;
use crate::part::job;
use crate::report::ui::{self, Ui};
use crate::supply::agents::{self, Agent};
use crate::world::access::Access;
use crate::world::context::Lab;
use crate::world::topology::{Node, Nodes};

/// Requests a second, each way.
const RATE: u32 = 200;
const JOB: &str = "late";
/// The way that the hypothesis is about.
const OURS: &str = "VIP";

/// How long the streams go on after a change is over.
const TAIL: Duration = Duration::from_secs(5);

/// A way to the same instances.
struct Way {
    name: &'static str,
    load: Load,
    /// Answered and failed when the phase began.
    before: (u64, u64),
}

pub(super) struct Lost;

impl Experiment for Lost {
    fn hypothesis(&self) -> &'static str {
        "no request through the VIP is lost while instances of a server that is hard to lose nothing with come and go"
    }

    fn nodes(&self) -> Nodes {
        Nodes::Two
    }

    fn run(&self, lab: &Arc<Lab>, ui: &Ui) -> Result<Outcome> {
        let mut step = ui.step("traefik");
        let traefik = agents::ensure(Agent::Traefik, &lab.person, &lab.paths.cache, &mut step)?;
        step.end(ui::Outcome::Ok, &traefik.to_string());
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
        job::purge(lab, JOB)?;
        measured
    }
}

/// Traefik beside the client, asking the lab's Consul.
fn gateway(
    lab: &Lab,
    program: &std::path::Path,
    name: &str,
    port: u16,
    more: &[&str],
) -> Result<Identity> {
    let consul = lab.topology.consul_address();
    let token = Access::of(lab)?.consul;
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
        env: vec![("CONSUL_HTTP_TOKEN".to_owned(), token.reveal().to_owned())],
        netns: Some(lab.topology.netns(Node::Client.name())),
        log: lab.paths.log(name),
    };
    daemon.start()
}

fn phases(lab: &Lab) -> Result<Outcome> {
    let vip = lab.topology.second_vip();
    Change::None.make(lab)?;
    settled(lab, Change::None.count())?;
    let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let targets = [
        (OURS, SocketAddr::V4(vip)),
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
    let queues = Overflows::watch(&lab.cgroup);
    let (mut lines, mut measurements) = (Vec::new(), Vec::new());
    for change in Change::ALL {
        if change == Change::Drain && lab.topology.nodes() == Nodes::One {
            lines.push(
                "drain of a node: not tried, there is one node (lab up --nodes 2)".to_owned(),
            );
            continue;
        }
        for way in &mut ways {
            way.before = way.load.so_far();
        }
        let full = queues.so_far();
        change.make(lab)?;
        settled(lab, change.count())?;
        std::thread::sleep(TAIL);
        let what = change.words();
        for way in &ways {
            let (answered, failed) = way.load.so_far();
            let (answered, failed) = (answered - way.before.0, failed - way.before.1);
            lines.push(format!(
                "{what}, {}: {failed} lost of {}",
                way.name,
                answered + failed
            ));
            if way.name == OURS {
                let failed = f64::from(u32::try_from(failed)?);
                measurements.push(Measurement::at_most(
                    0.0,
                    "requests",
                    format!("lost: {what}"),
                    failed,
                ));
            }
        }
        let full = queues.so_far() - full;
        if full > 0 {
            lines.push(format!(
                "{what}: {full} times a server's own queue of connections was full, and the client has to try again or to give up"
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
    Ok(Outcome {
        lines,
        measurements,
    })
}

/// What happens to the instances, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    None,
    Update,
    Drain,
    Down,
}

impl Change {
    const ALL: [Self; 4] = [Self::None, Self::Update, Self::Drain, Self::Down];

    fn words(self) -> &'static str {
        match self {
            Self::None => "nothing happens",
            Self::Update => "rolling update of 5, one by one",
            Self::Drain => "drain of one of two nodes",
            Self::Down => "scale-down 5 to 2",
        }
    }

    /// Instances afterwards.
    fn count(self) -> usize {
        match self {
            Self::None | Self::Update | Self::Drain => 5,
            Self::Down => 2,
        }
    }

    fn make(self, lab: &Lab) -> Result<()> {
        match self {
            Self::None => run(lab, self.count(), "1"),
            Self::Update | Self::Down => run(lab, self.count(), "2"),
            Self::Drain => drain(lab),
        }
    }
}

/// Empties node2 and lets it take tasks again.
fn drain(lab: &Lab) -> Result<()> {
    let mut nodes = lab.nomad().nodes()?.into_iter();
    let node = nodes
        .find(|node| node.name == Node::Node2.name())
        .context("Nomad doesn't know node2")?
        .id;
    // Without -detach it returns when the last allocation has gone.
    nomad(lab, &["node", "drain", "-enable", "-yes", &node])?;
    nomad(lab, &["node", "eligibility", "-enable", &node])
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
        "job",
        "run",
        "-detach",
        "-var",
        &vip,
        "-var",
        &count,
        "-var",
        &release,
        "-var",
        "parallel=1",
        &file,
    ];
    nomad(lab, &words)?;
    job::wait_deployed(lab, JOB)
}

fn nomad(lab: &Lab, words: &[&str]) -> Result<()> {
    let program = lab.decisions().context("the lab isn't up")?.nomad;
    let mut command = Command::new(program);
    run_command(command.args(words).envs(env::agents(lab))).map(drop)
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
