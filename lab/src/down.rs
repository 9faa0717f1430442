//! `lab down`: removes all that `up` made, from whatever state it is in.
//!
//! Orderly first (containers, engine, agents, guest), then the sweep: every process in the lab's namespaces and
//! cgroup, every mount, link, cgroup, folder. Nothing there is a success. What can't be removed is said, and the
//! rest goes on.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use crate::client::docker::docker;
use crate::host::process::Identity;
use crate::host::{cgroup, netns};
use crate::report::ui::{Outcome, Ui};
use crate::world::context::Lab;
use crate::world::fabric;

/// Brings everything down.
pub fn run(lab: &Lab, ui: &Ui) -> Result<()> {
    let step = ui.step("down");
    let before = processes(lab).len();
    if before == 0 && !lab.paths.state.exists() && !lab.paths.run.exists() && !fabric_left(lab) {
        step.end(Outcome::Ok, "nothing is there");
        return Ok(());
    }
    stop_containers(lab);
    let all = lab.records.all();
    for kind in ["syncer-registrar", "nomad", "docker", "consul", "director"] {
        let of_kind = all.iter().filter(|(part, _)| part.starts_with(kind));
        for identity in of_kind.filter_map(|(_, living)| living.as_ref()) {
            identity.stop(Duration::from_secs(5));
        }
    }
    let mut left: Vec<String> = Vec::new();
    let mut note = |result: Result<()>| {
        if let Err(error) = result {
            left.push(format!("{error:#}"));
        }
    };
    note(end_all(lab));
    note(unmount_below(&lab.paths.state));
    note(unmount_below(&lab.paths.run));
    note(fabric::down(&lab.topology));
    note(lab.cgroup.remove());
    note(remove_container_cgroups(lab));
    for folder in [&lab.paths.state, &lab.paths.run] {
        note(remove_folder(folder));
    }
    if left.is_empty() {
        step.end(
            Outcome::Ok,
            &format!("{before} processes ended, nothing left"),
        );
        Ok(())
    } else {
        step.end(Outcome::Failed, &left.join("; "));
        bail!("not everything could be removed")
    }
}

/// Containers would live on after their engine.
fn stop_containers(lab: &Lab) {
    for node in lab.topology.nodes().all() {
        if lab
            .records
            .living(&lab.part_name(*node, "docker"))
            .is_none()
        {
            continue;
        }
        let Ok(ids) = docker(lab, *node, &["ps", "--quiet", "--no-trunc"]) else {
            continue;
        };
        let ids: Vec<&str> = ids.lines().collect();
        if !ids.is_empty() {
            let mut args = vec!["kill"];
            args.extend(ids);
            // One that ended meanwhile is no matter; the sweep finds those that didn't.
            let _ = docker(lab, *node, &args);
        }
    }
}

fn fabric_left(lab: &Lab) -> bool {
    netns::exists(&lab.topology.fabric_netns())
        || nix::net::if_::if_nametoindex(lab.topology.host_link().as_str()).is_ok()
}

/// Everything that runs in the lab's namespaces or cgroups, but for this very process.
fn processes(lab: &Lab) -> BTreeSet<i32> {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let namespaces = lab.topology.all_netns();
    let in_namespaces = namespaces.iter().flat_map(|netns| netns::pids(netns));
    let mut found: BTreeSet<i32> = in_namespaces.chain(lab.cgroup.pids()).collect();
    found.extend(
        container_cgroups(lab)
            .iter()
            .flat_map(|path| cgroup::pids_below(path)),
    );
    found.remove(&own);
    found
}

/// Kills until none is left: a supervisor may start a new one between two looks.
fn end_all(lab: &Lab) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let found = processes(lab);
        if found.is_empty() {
            return Ok(());
        }
        if Instant::now() > until {
            bail!("processes {found:?} don't end");
        }
        for identity in found.into_iter().filter_map(Identity::of) {
            identity.signal(Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Deepest first, since mounts lie on mounts.
fn unmount_below(folder: &Path) -> Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").context("read the mounts")?;
    let below: Vec<&str> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|target| Path::new(target).starts_with(folder))
        .collect();
    for target in below.iter().rev() {
        nix::mount::umount2(*target, nix::mount::MntFlags::MNT_DETACH)
            .with_context(|| format!("unmount {target}"))?;
    }
    Ok(())
}

/// The cgroups that Docker and Nomad made for the lab, in every hierarchy.
fn container_cgroups(lab: &Lab) -> Vec<std::path::PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let targets = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (_, target, kind) = (fields.next()?, fields.next()?, fields.next()?);
        kind.starts_with("cgroup").then(|| {
            Path::new(target)
                .join("nomad-ipvs-lab")
                .join(lab.topology.profile())
        })
    });
    targets.filter(|path| path.is_dir()).collect()
}

fn remove_container_cgroups(lab: &Lab) -> Result<()> {
    for path in container_cgroups(lab) {
        cgroup::remove_tree(&path)?;
        // The folder of all labs goes with the last of them.
        path.parent().map(std::fs::remove_dir);
    }
    Ok(())
}

fn remove_folder(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove {}", folder.display()));
        }
        _ => {}
    }
    // The folder of all profiles goes with the last of them.
    folder.parent().map(std::fs::remove_dir);
    Ok(())
}
