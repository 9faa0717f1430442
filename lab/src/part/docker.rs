//! A Docker engine of the lab's own in each node's namespace: nothing of the machine's engine is touched.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::service::{self, Launch, Service};
use super::{Up, iptables};
use crate::client::docker::docker;
use crate::host::programs;
use crate::report::ui::Outcome;
use crate::world::context::Lab;
use crate::world::topology::Node;

/// Oldest engine whose API the driver is tested against.
const OLDEST: (u32, u32) = (20, 10);

/// Starts the engine unless it runs; returns when it answers.
pub fn up(lab: &Lab, node: Node) -> Result<Up> {
    let up = service::up(lab, node, &Engine { lab, node })?;
    if up.outcome == Outcome::Ok {
        let socket = lab.run_of(node).join("docker.sock");
        lab.person.give(&socket)?;
        // Its group may be one that others are in.
        std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600))
            .context("close the engine's socket to others")?;
        refuse_old(&version(lab, node)?)?;
    }
    Ok(up)
}

struct Engine<'a> {
    lab: &'a Lab,
    node: Node,
}

impl Service for Engine<'_> {
    const NAME: &'static str = "docker";
    const READY_TIMEOUT: Duration = Duration::from_secs(30);

    fn launch(&self) -> Result<Launch> {
        let Self { lab, node } = *self;
        let (run, state) = (lab.run_of(node), lab.state_of(node).join("docker"));
        for folder in [&run, &state] {
            lab.person.make_dir(folder)?;
        }
        let pidfile = run.join("docker.pid");
        // Left by an engine that was killed; another process may have its pid by now.
        for stale in [&pidfile, &run.join("docker/containerd/containerd.pid")] {
            let _ = std::fs::remove_file(stale);
        }
        let netns = lab.topology.netns(node.name());
        Ok(Launch {
            program: programs::find("dockerd")
                .context("dockerd is not on PATH (package docker.io)")?,
            args: vec![
                format!("--data-root={}", state.display()),
                format!("--exec-root={}", run.join("docker").display()),
                format!("--pidfile={}", pidfile.display()),
                format!("--host={}", lab.docker_host_of(node)),
                "--exec-opt=native.cgroupdriver=cgroupfs".to_owned(),
                format!("--cgroup-parent={}", cgroup_parent(lab)),
                // The machine's own configuration is for the machine's own engine.
                format!("--config-file={}", configured(lab, node)?.display()),
            ],
            env: iptables::search_path(&netns, &lab.state_of(node).join("iptables"))?,
            netns: Some(netns),
        })
    }

    fn ready(&self) -> Result<String> {
        let version = version(self.lab, self.node)?;
        // It answers also without the containerd that runs its containers, and lists it among its components only with it.
        let components = "{{range .Server.Components}}{{.Name}} {{end}}";
        let components = docker(self.lab, self.node, &["version", "--format", components])?;
        ensure!(
            components
                .split_whitespace()
                .any(|name| name == "containerd"),
            "Docker {version} has lost its containerd and waits for another"
        );
        Ok(format!("{version} in {}", self.node.name()))
    }
}

/// Where containers' cgroups go, in every hierarchy, so that they can be removed with the lab.
pub fn cgroup_parent(lab: &Lab) -> String {
    format!("/nomad-ipvs-lab/{}/containers", lab.topology.profile())
}

fn version(lab: &Lab, node: Node) -> Result<String> {
    let version = docker(lab, node, &["version", "--format", "{{.Server.Version}}"])?;
    Ok(version.trim().trim_end_matches("+dfsg1").to_owned())
}

/// The engine's configuration file. The engine reads it again at SIGHUP; the next [`up`] writes it anew.
pub fn configuration(lab: &Lab, node: Node) -> PathBuf {
    lab.state_of(node).join("dockerd.json")
}

fn configured(lab: &Lab, node: Node) -> Result<PathBuf> {
    let file = configuration(lab, node);
    lab.person.write(&file, "{\"live-restore\": true}\n")?;
    Ok(file)
}

fn refuse_old(version: &str) -> Result<()> {
    let mut numbers = version
        .split(['.', '+', '-'])
        .map_while(|part| part.parse::<u32>().ok());
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found < OLDEST {
        bail!(
            "Docker {version} is too old: {}.{} or newer is needed (Debian's package docker.io has it)",
            OLDEST.0,
            OLDEST.1
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_engine_is_named_with_the_remedy() {
        assert!(refuse_old("20.10.24").is_ok());
        assert!(refuse_old("29.0.1").is_ok());
        let error = refuse_old("18.09.1").unwrap_err().to_string();
        assert!(
            error.contains("18.09.1") && error.contains("20.10"),
            "{error}"
        );
    }
}
