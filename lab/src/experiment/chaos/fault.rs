//! Does a fault to the lab's own processes, and undoes it.
//!
//! A process is hit by its recorded identity, or as the child of one that is. Undoing a death is what `lab up` does for
//! that part; the plugin and containerd are started again by their parents.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::episode::{Fault, Kind, Part};
use super::meddle;
use crate::guest::keeper;
use crate::host::proc;
use crate::host::process::{self, Identity};
use crate::part;
use crate::part::nomad::Driver;
use crate::supply::products::Products;
use crate::world::context::Lab;
use crate::world::fabric;
use crate::world::topology::Node;

/// How long a part may take to end politely.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// What there is to undo.
#[derive(Debug)]
pub(super) enum Injected {
    Stopped(Vec<Identity>),
    /// A pid in the director's kernel.
    StoppedInside(String),
    Cut(Node),
    Dead(Part),
    /// Nothing: the syncer puts it right.
    Meddled,
}

/// Does it. An error: nothing to hit is there.
pub(super) fn inject(lab: &Lab, fault: &Fault) -> Result<Injected> {
    match (fault.kind, fault.part) {
        (Kind::CutOff, part) => {
            let node = if part == Part::Director {
                Node::Director
            } else {
                Node::Node1
            };
            fabric::cut(&lab.topology, node)?;
            Ok(Injected::Cut(node))
        }
        (Kind::Meddle, part) => meddle::with(lab, part).map(|()| Injected::Meddled),
        (kind, Part::Syncer) => inject_inside(lab, kind),
        (kind, part) => {
            let found = processes(lab, part);
            ensure!(!found.is_empty(), "{part} is not there");
            for identity in &found {
                match kind {
                    Kind::Kill => {
                        identity.signal(Signal::SIGKILL);
                        identity.gone_within(STOP_TIMEOUT);
                    }
                    Kind::Restart => identity.stop(STOP_TIMEOUT),
                    _ => identity.signal(Signal::SIGSTOP),
                }
            }
            Ok(if kind == Kind::Pause {
                Injected::Stopped(found)
            } else {
                Injected::Dead(part)
            })
        }
    }
}

/// Undoes it. Returns when the part is ready again, as far as the part alone can tell.
pub(super) fn heal(lab: &Lab, injected: &Injected) -> Result<()> {
    match injected {
        Injected::Stopped(processes) => {
            for identity in processes {
                identity.signal(Signal::SIGCONT);
            }
            Ok(())
        }
        Injected::StoppedInside(pid) => inside(lab, "CONT", pid),
        Injected::Meddled => Ok(()),
        Injected::Cut(node) => fabric::mend(&lab.topology, *node),
        Injected::Dead(part) => start(lab, *part),
    }
}

/// The processes on the machine that are this part.
fn processes(lab: &Lab, part: Part) -> Vec<Identity> {
    let of = |name: &str| lab.records.living(name).into_iter().collect::<Vec<_>>();
    let below = |name: &str, program: &str| {
        let parents = of(name).into_iter();
        let children = parents.flat_map(|parent| process::children(parent.pid));
        children
            .filter(|child| proc::name(child.pid).as_deref() == Some(program))
            .collect::<Vec<_>>()
    };
    match part {
        Part::Nomad => of("nomad"),
        Part::Docker => of("docker"),
        Part::Consul => of("consul"),
        Part::Registrar => of("syncer-registrar"),
        Part::Plugin => part::nomad::plugins(lab, Node::Node1),
        Part::Containerd => below("docker", "containerd"),
        Part::Director => below("director", keeper::PROGRAM),
        Part::Syncer
        | Part::Node1
        | Part::Sysctl
        | Part::Address
        | Part::Rule
        | Part::Table
        | Part::NodeRule => Vec::new(),
    }
}

fn inject_inside(lab: &Lab, kind: Kind) -> Result<Injected> {
    ensure!(part::syncer::director_runs(lab), "syncer is not there");
    let pid = part::syncer::director_pid(lab)
        .context("the director's syncer was never started")?
        .to_string();
    match kind {
        Kind::Kill => inside(lab, "KILL", &pid)?,
        Kind::Restart => part::syncer::director_end(lab)?,
        _ => {
            inside(lab, "STOP", &pid)?;
            return Ok(Injected::StoppedInside(pid));
        }
    }
    Ok(Injected::Dead(Part::Syncer))
}

fn inside(lab: &Lab, signal: &str, pid: &str) -> Result<()> {
    let output = lab.kernel.capture(&["kill", &format!("-{signal}"), pid])?;
    ensure!(output.code == 0, "kill: {}", output.stderr.trim());
    Ok(())
}

fn start(lab: &Lab, part: Part) -> Result<()> {
    let decisions = lab.decisions().context("the lab isn't up")?;
    let products = Products::find()?;
    match part {
        Part::Nomad => {
            let (nomad, driver) = (&decisions.nomad, &products.driver);
            part::nomad::up(lab, Node::Node1, nomad, driver, Driver::Ours).map(drop)
        }
        Part::Docker => part::docker::up(lab, Node::Node1).map(drop),
        Part::Consul => part::consul::up(lab, Node::Node1, &decisions.consul).map(drop),
        Part::Registrar => part::syncer::registrar_up(lab, Node::Node1, &products.syncer).map(drop),
        Part::Syncer => part::syncer::director_up(lab, &products.syncer).map(drop),
        Part::Director => lab.kernel.up(),
        Part::Plugin
        | Part::Containerd
        | Part::Node1
        | Part::Sysctl
        | Part::Address
        | Part::Rule
        | Part::Table
        | Part::NodeRule => Ok(()),
    }
}
