//! `lab up`: from nothing, or from whatever is left, to an answer through the VIP.
//!
//! The order is the dependencies' and no more: Consul, Docker with its image and the director's kernel come up side
//! by side; Nomad waits for Docker (its driver is asked at once and then only every half minute), the syncer for
//! Consul and Nomad. Each part first looks whether it is there, so a second `up` changes nothing and one after a
//! crash mends what died.

mod method;

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, anyhow, bail};

use crate::host::{lock, paths};
use crate::part::Up;
use crate::part::job::Standing;
use crate::part::nomad::Driver;
use crate::report::ui::{Outcome, Step, Ui};
use crate::supply::products::Products;
use crate::supply::{agents, packages};
use crate::world::access::Access;
use crate::world::certificates::{self, Purpose};
use crate::world::context::Lab;
use crate::world::fabric;
use crate::world::topology::Node;
use crate::{doctor, intent, part};

/// The articles' job.
const JOB: &str = "hello-world";

/// What the person asked for beyond "up".
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    /// Missing packages are installed.
    pub install: doctor::Installing,
    /// The articles' job is run and its answer awaited.
    pub job: bool,
    /// Who runs the first node's Docker tasks; further nodes have our driver.
    pub driver: Driver,
}

/// Brings the lab up. Every error has been shown as its step's line when this returns.
pub fn run(lab: &Lab, ui: &Ui, wish: Wish) -> Result<()> {
    let started = Instant::now();
    prepare_folders(lab)?;
    let file = lab.paths.state.join("lock");
    let _one_at_a_time = lock::take(&file)?;
    lab.person.give(&file)?;
    step(ui, "doctor", |step| examined(lab, step, wish.install))?;
    let (nomad, consul) = step_with(ui, "agents", |step| {
        let (nomad, consul) = agents::ensure_both(&lab.person, &lab.paths.cache, step)?;
        Ok((Up::now(format!("{nomad}, {consul}")), (nomad, consul)))
    })?;
    let products = Products::find()?;
    Access::ensure(lab)?;
    certificates::ensure(lab, Purpose::Agents)?;
    lab.save_decisions(nomad.path.clone(), consul.path.clone())?;
    lab.cgroup.join()?;
    step(ui, "fabric", |_| fabric_up(lab))?;
    std::thread::scope(|scope| {
        let catalogue = scope.spawn(|| {
            step(ui, "consul", |_| {
                part::consul::up(lab, Node::Node1, &consul.path)
            })
        });
        let director = scope.spawn(|| step(ui, "director", |_| director_up(lab)));
        let docker = step(ui, "docker", |step| docker_up(lab, Node::Node1, step));
        // Nomad looks for Consul while it starts. One that has no leader yet knows no token, and Nomad, which places no task
        // that has a service before it knows Consul, looks again after fifteen seconds.
        let catalogue = joined(catalogue.join());
        let scheduler = docker.and(catalogue).and_then(|()| {
            step(ui, "nomad", |_| {
                part::nomad::up(lab, Node::Node1, &nomad.path, &products.driver, wish.driver)
            })
        });
        joined(director.join()).and(scheduler)
    })?;
    // Not before Nomad has its token: until then it gives all rights to whoever asks first.
    fabric::join_machine(&lab.topology)?;
    step(ui, "syncer", |_| part::syncer::up(lab, &products.syncer))?;
    for node in lab
        .topology
        .nodes()
        .all()
        .iter()
        .filter(|node| **node != Node::Node1)
    {
        step(ui, node.name(), |step| {
            further_node(lab, *node, [&nomad.path, &consul.path], &products, step)
        })?;
    }
    if wish.job {
        job_up(lab, ui, started)?;
    }
    say_ready(lab, ui, started);
    Ok(())
}

fn prepare_folders(lab: &Lab) -> Result<()> {
    lab.paths.make(&lab.person)?;
    for folder in [&lab.paths.logs(), &lab.paths.cache] {
        lab.person.make_dir(folder)?;
    }
    Ok(())
}

/// Says no before anything was changed; installs what is missing and may be installed.
fn examined(lab: &Lab, step: &mut Step, installing: doctor::Installing) -> Result<Up> {
    let found = doctor::examine(&intent::intent(lab, installing));
    if !found.report.is_fit() {
        bail!(
            "this machine can't run the lab as it is\n{}",
            found.report.obstacles().trim_end()
        );
    }
    let missing = packages::packages_of(&packages::missing(found.plans));
    if !missing.is_empty() {
        let came = packages::install(&missing, &mut |text| step.note(text))?;
        return Ok(Up::now(format!("installed {}", came.join(" "))));
    }
    Ok(Up::now(found.report.summary()))
}

/// Also lets go on what was stopped and plugs in what was cut off: whoever hangs can't be waited for later.
fn fabric_up(lab: &Lab) -> Result<Up> {
    let resumed = match lab.cgroup.resume() {
        0 => String::new(),
        some => format!("  stopped processes that go on: {some}"),
    };
    let nodes: Vec<&str> = lab
        .topology
        .nodes()
        .all()
        .iter()
        .map(|node| node.name())
        .collect();
    let finding = format!(
        "{}  client, {}, director ({}){resumed}",
        lab.topology.subnet(),
        nodes.join(", "),
        lab.kernel.choice()
    );
    if fabric::is_up(&lab.topology) {
        for node in lab.topology.nodes().all().iter().chain([&Node::Director]) {
            fabric::mend(&lab.topology, *node)?;
        }
        return Ok(Up::already(finding));
    }
    fabric::up(&lab.topology, lab.kernel.link())?;
    Ok(Up::now(finding))
}

fn director_up(lab: &Lab) -> Result<Up> {
    let address = lab.topology.node_address(Node::Director);
    if lab.kernel.is_up() {
        return Ok(Up::already(address.to_string()));
    }
    lab.kernel.up()?;
    Ok(Up::now(address.to_string()))
}

fn docker_up(lab: &Lab, node: Node, step: &mut Step) -> Result<Up> {
    let outlet = part::outlet::up(lab, node);
    let mut up = part::docker::up(lab, node)?;
    step.note("images");
    let (images, missing) = part::image::ensure(lab, node)?;
    up.finding = format!("{}  {images}", up.finding);
    if let Some(error) = missing {
        up.outcome = Outcome::Warn;
        up.finding = format!("{}; not there: {error:#}", up.finding);
    }
    if let Err(error) = outlet {
        up.outcome = Outcome::Warn;
        up.finding = format!("{}; images can't be pulled: {error:#}", up.finding);
    }
    Ok(up)
}

/// All parts of one more node. They need the first node's, and nothing else needs them.
fn further_node(
    lab: &Lab,
    node: Node,
    [nomad, consul]: [&Path; 2],
    products: &Products,
    step: &mut Step,
) -> Result<Up> {
    step.note("consul");
    let consul = part::consul::up(lab, node, consul)?;
    let docker = docker_up(lab, node, step)?;
    step.note("syncer");
    let syncer = part::syncer::registrar_up(lab, node, &products.syncer)?;
    step.note("nomad");
    let nomad = part::nomad::up(lab, node, nomad, &products.driver, Driver::Ours)?;
    let finding = format!(
        "{}  consul, docker, nomad, syncer",
        lab.topology.node_address(node)
    );
    Ok(Up::of_all(&[consul, docker, syncer, nomad], finding))
}

/// The job, then the answer, then the deployment: the page is there long before Nomad calls it healthy.
fn job_up(lab: &Lab, ui: &Ui, started: Instant) -> Result<()> {
    let already = part::job::standing(lab, JOB)? == Standing::Deployed;
    let mut job = ui.step("job");
    let ran = if already {
        Ok(())
    } else {
        let file = paths::workspace().join("jobs/hello-world.nomad.hcl");
        part::job::submit(lab, &file).and_then(|()| part::job::wait_running(lab, JOB, &mut job))
    };
    if let Err(error) = ran.and_then(|()| method::ensure(lab, &mut job)) {
        return Err(fail(job, error));
    }
    step(ui, "answer", |_| {
        let mut up = part::answer::up(lab)?;
        up.finding = format!(
            "{}  {:.1} s after the start",
            up.finding,
            started.elapsed().as_secs_f64()
        );
        Ok(up)
    })?;
    match part::job::wait_deployed(lab, JOB) {
        Ok(()) => {
            let outcome = if already {
                Outcome::Already
            } else {
                Outcome::Ok
            };
            job.end(outcome, "hello-world healthy");
            Ok(())
        }
        Err(error) => Err(fail(job, error)),
    }
}

fn say_ready(lab: &Lab, ui: &Ui, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    let vip = lab.topology.vip();
    ui.object(&serde_json::json!({
        "ready": true, "seconds": seconds, "vip": vip.to_string(),
        "nomad": lab.topology.nomad_address(), "consul": lab.topology.consul_address(), "docker": lab.docker_host(),
    }));
    ui.say(&format!(
        "Ready in {seconds:.1} s. Try: curl http://{}/ · cargo lab status · cargo lab exec director -- ipvsadm -ln · cargo lab down",
        vip.ip()
    ));
}

fn step(ui: &Ui, name: &str, work: impl FnOnce(&mut Step) -> Result<Up>) -> Result<()> {
    step_with(ui, name, |step| Ok((work(step)?, ())))
}

fn step_with<T>(ui: &Ui, name: &str, work: impl FnOnce(&mut Step) -> Result<(Up, T)>) -> Result<T> {
    let mut step = ui.step(name);
    match work(&mut step) {
        Ok((up, value)) => {
            step.end(up.outcome, &up.finding);
            Ok(value)
        }
        Err(error) => Err(fail(step, error)),
    }
}

/// Shows the failure as the step's line; the error goes on as the reason to stop.
fn fail(step: Step, error: anyhow::Error) -> anyhow::Error {
    step.end(Outcome::Failed, &format!("{error:#}"));
    error
}

fn joined(result: std::thread::Result<Result<()>>) -> Result<()> {
    result.unwrap_or_else(|_| Err(anyhow!("a step panicked")))
}
