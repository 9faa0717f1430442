//! From the end of a task's process to the end of its real server, and what somebody who only listens to Consul or to
//! Nomad would have waited, in the same run.
//!
//! Ten instances are killed in turn, two hundred times in all; Nomad starts each again. The kernel's end is seen by a
//! watcher inside the director's kernel, the others by readers on blocking queries outside.

mod watch;

use std::collections::BTreeMap;
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;

use super::Series;
use super::capture::Mark;
use crate::client::api::Api;
use crate::client::consul::Entry;
use crate::client::docker;
use crate::client::nomad::Allocation;
use crate::experiment::{Experiment, Measurement, Outcome};
use crate::host::wait;
use crate::observe::status;
use crate::part::job;
use crate::report::ui::{self, Ui};
use crate::world::context::Lab;
use crate::world::topology::Node;

pub use watch::watch;

const ENDS: usize = 200;
const INSTANCES: usize = 10;
const JOB: &str = "exit-probe";

/// For all of them.
const ENDS_TIMEOUT: Duration = Duration::from_mins(5);

/// Between two kills. The tenth is over before the first starts again, for two processors that start containers show
/// their own delays.
const PACE: Duration = Duration::from_millis(400);

pub(super) struct Exit;

impl Experiment for Exit {
    fn hypothesis(&self) -> &'static str {
        "a real server is gone 20 ms after its process has ended, in 99 of 100 ends, before Consul and Nomad say a word"
    }

    fn run(&self, lab: &Arc<Lab>, _ui: &Ui) -> Result<Outcome> {
        let file = lab.paths.state.join(format!("{JOB}.nomad.hcl"));
        lab.person.write(&file, &jobfile(lab))?;
        job::submit(lab, &file)?;
        let measured = job::wait_deployed(lab, JOB).and_then(|()| ends(lab));
        job::purge(lab, JOB)?;
        measured
    }
}

fn jobfile(lab: &Lab) -> String {
    format!(
        r#"job "{JOB}" {{
  datacenters = ["*"]
  group "servers" {{
    count = {INSTANCES}
    network {{
      port "www" {{
        to = 8001
      }}
    }}
    update {{
      max_parallel     = {INSTANCES}
      min_healthy_time = "1s"
    }}
    restart {{
      attempts = 100
      interval = "1h"
      delay    = "5s"
      mode     = "delay"
    }}
    task "web" {{
      driver = "docker"
      config {{
        image   = "busybox:1"
        command = "httpd"
        args    = ["-f", "-p", "${{NOMAD_PORT_www}}", "-h", "/local"]
        ports   = ["www"]
      }}
      service {{
        name = "{JOB}"
        port = "www"
        tags = ["ipvs.vip={vip}:80", "ipvs.scheduler=rr", "ipvs.forward=masq"]
      }}
      resources {{
        cpu    = 20
        memory = 16
      }}
    }}
  }}
}}
"#,
        vip = lab.topology.third_vip()
    )
}

/// Kills, and collects what the three observers saw.
fn ends(lab: &Lab) -> Result<Outcome> {
    let program = std::env::current_exe().context("find the own program")?;
    let program = program.display().to_string();
    let vip = format!("{}:80", lab.topology.third_vip());
    let consul = lab.topology.node_address(Node::Node1).to_string();
    all_serve(lab, &vip)?;
    let watch = [
        program.as_str(),
        "internal",
        "watch-exits",
        consul.as_str(),
        vip.as_str(),
    ];
    let killed = Killed::default();
    let over = AtomicBool::new(false);
    let (kernel, consul, nomad) = std::thread::scope(|scope| {
        let kernel = scope.spawn(|| {
            lab.kernel
                .capture_within(&watch, ENDS_TIMEOUT + Duration::from_mins(1))
        });
        let consul = scope.spawn(|| gone_in_consul(lab, &killed, &over));
        let nomad = scope.spawn(|| gone_in_nomad(lab, &killed, &over));
        std::thread::sleep(Duration::from_secs(2));
        let done = kill_all(lab, &vip, &killed);
        let kernel = kernel.join();
        over.store(true, Ordering::Release);
        let witnesses = (kernel, consul.join(), nomad.join());
        done.map(|()| witnesses)
    })?;
    let panicked = |_| anyhow!("an observer panicked");
    let output = kernel.map_err(panicked)??;
    ensure!(output.code == 0, "the watcher: {}", output.stderr.trim());
    let kernel: Vec<f64> =
        serde_json::from_str(output.stdout.trim()).context("read the watcher's answer")?;
    ensure!(!kernel.is_empty(), "no real server was seen to go");
    let kernel = Series::new("process ends → real server gone", kernel);
    let others = [
        Series::new("process ends → Consul says so", consul.map_err(panicked)??),
        Series::new("process ends → Nomad says so", nomad.map_err(panicked)??),
    ];
    let p99 = Measurement::at_most(20.0, "ms", "real server gone, p99", kernel.quantile(0.99));
    Ok(Outcome {
        lines: [&kernel]
            .into_iter()
            .chain(&others)
            .map(Series::to_string)
            .collect(),
        measurements: vec![p99],
    })
}

/// When each was killed, until its end has been seen by the reader of that name.
#[derive(Debug, Default)]
struct Killed(Mutex<BTreeMap<(&'static str, SocketAddr), Instant>>);

impl Killed {
    fn note(&self, real: SocketAddr) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for reader in ["consul", "nomad"] {
            all.insert((reader, real), Instant::now());
        }
    }

    /// Milliseconds since, once.
    fn take(&self, reader: &'static str, gone: impl Fn(&SocketAddr) -> bool) -> Vec<f64> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut took = Vec::new();
        all.retain(|(other, real), at| {
            let is_gone = *other == reader && gone(real);
            if is_gone {
                took.push(at.elapsed().as_secs_f64() * 1000.0);
            }
            !is_gone
        });
        took
    }
}

fn all_serve(lab: &Lab, vip: &str) -> Result<()> {
    wait::until(
        "wait for all instances to serve",
        Duration::from_mins(1),
        || {
            let rows = status::read(lab).rows;
            let real = rows.iter().filter_map(|row| row.real_server.as_ref());
            let serving = real.filter(|real| real.vip.ends_with(vip) && real.weight > 0);
            ensure!(serving.count() == INSTANCES, "not all serve yet");
            Ok(())
        },
        || None,
    )
}

fn kill_all(lab: &Lab, vip: &str, killed: &Killed) -> Result<()> {
    let marks = UdpSocket::bind((lab.topology.host_address(), 0)).context("a socket for marks")?;
    let director = (lab.topology.node_address(Node::Director), Mark::PORT);
    let mut number = 0;
    while number < ENDS {
        let processes = processes(lab)?;
        ensure!(!processes.is_empty(), "no instance runs");
        for (real, pid) in processes {
            let began = Instant::now();
            let sent = SystemTime::now().duration_since(UNIX_EPOCH)?;
            marks
                .send_to(&Mark { real, sent }.datagram(), director)
                .context("send a mark")?;
            killed.note(SocketAddr::V4(real));
            kill(Pid::from_raw(pid), Signal::SIGKILL).context("kill an instance")?;
            number += 1;
            std::thread::sleep(PACE.saturating_sub(began.elapsed()));
            if number == ENDS {
                break;
            }
        }
        all_serve(lab, vip)?;
        ui::complain(&format!("{number} of {ENDS}"));
    }
    Ok(())
}

/// Host port and process of each instance.
fn processes(lab: &Lab) -> Result<Vec<(SocketAddrV4, i32)>> {
    let ids = docker::docker(
        lab,
        Node::Node1,
        &["ps", "--quiet", "--filter", "name=web-"],
    )?;
    let node = lab.topology.node_address(Node::Node1);
    let mut found = Vec::new();
    for id in ids.split_whitespace() {
        let container = docker::inspect(lab, Node::Node1, id)?;
        let env = container.env();
        if env.get("NOMAD_JOB_NAME") != Some(&JOB) {
            continue;
        }
        if let (Some(port), Some(pid)) = (env.get("NOMAD_HOST_PORT_www"), container.pid()) {
            let port = port.parse().context("a port")?;
            found.push((SocketAddrV4::new(node, port), pid));
        }
    }
    Ok(found)
}

fn gone_in_consul(lab: &Lab, killed: &Killed, over: &AtomicBool) -> Result<Vec<f64>> {
    let path = format!("health/service/{JOB}");
    follow(&lab.consul(), &path, over, |entries: &[Entry]| {
        let ports = entries.iter().filter_map(|entry| entry.service.port);
        let registered: Vec<u16> = ports.collect();
        killed.take("consul", |real| !registered.contains(&real.port()))
    })
}

fn gone_in_nomad(lab: &Lab, killed: &Killed, over: &AtomicBool) -> Result<Vec<f64>> {
    let path = format!("job/{JOB}/allocations?resources=true&task_states=true");
    follow(&lab.nomad(), &path, over, |allocations: &[Allocation]| {
        let running = allocations.iter().filter(|allocation| {
            let mut tasks = allocation.task_states();
            tasks.any(|(name, task)| name == "web" && task.state == "running")
        });
        let allocated: Vec<u16> = running
            .flat_map(Allocation::ports)
            .map(|port| port.address().port())
            .collect();
        killed.take("nomad", |real| !allocated.contains(&real.port()))
    })
}

/// Blocking queries for a list, one after the other.
fn follow<T: DeserializeOwned>(
    api: &Api,
    base: &str,
    over: &AtomicBool,
    mut see: impl FnMut(&[T]) -> Vec<f64>,
) -> Result<Vec<f64>> {
    let mut index = 0;
    let mut millis = Vec::new();
    let joint = if base.contains('?') { '&' } else { '?' };
    while !over.load(Ordering::Acquire) {
        let path = format!("{base}{joint}index={index}&wait=1s");
        let answer = api.list_indexed(&path, Duration::from_secs(5))?;
        index = answer.1;
        millis.extend(see(&answer.0));
    }
    Ok(millis)
}
