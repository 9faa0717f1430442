//! Nomad: a real agent on each node, on node1 server and client, with our driver in place of its own Docker driver.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{Up, docker, syncer};
use crate::context::Lab;
use crate::process::{Daemon, Identity, log_tail};
use crate::topology::Node;
use crate::{http, netns, wait};

const PART: &str = "nomad";

/// The part and the TCP ports of its agent: HTTP, RPC and gossip.
pub const LISTENS: (&str, &[u16]) = (PART, &[4646, 4647, 4648]);

/// What makes an agent the server too.
const SERVER: &str = "\
server {
  enabled = true
  bootstrap_expect = 1
  # A single server on one machine elects itself quickly.
  raft_multiplier = 1
}
";

/// Short: the agent is on this machine.
const PATIENCE: Duration = Duration::from_secs(2);

/// Starts the agent unless it runs; returns when the node is ready and its driver `docker` is ours and healthy.
pub fn up(lab: &Lab, node: Node, program: &Path, plugin: &Path) -> Result<Up> {
    let url = lab.topology.nomad_url();
    let part = lab.part_name(node, PART);
    if let Some(identity) = lab.records.living(&part) {
        let driver = wait::until(
            "wait for the driver",
            Duration::from_mins(1),
            || driver_state(lab, node),
            || (!identity.is_alive()).then(|| "Nomad ended".to_owned()),
        )?;
        return Ok(Up::already(format!("{url}  {driver}")));
    }
    let folder = lab.state_of(node).join("nomad");
    lab.person.make_dir(&folder)?;
    install_plugin(lab, node, plugin)?;
    let config = folder.join("agent.hcl");
    lab.person
        .write(&config, &configuration(lab, node, &folder))?;
    let daemon = Daemon {
        name: &part,
        program,
        args: vec!["agent".to_owned(), format!("-config={}", config.display())],
        env: Vec::new(),
        netns: Some(lab.topology.netns(node.name())),
        log: lab.paths.log(&part),
    };
    let identity = daemon.start()?;
    lab.records.save(&part, &identity)?;
    let driver = wait::until(
        "wait for Nomad",
        Duration::from_mins(1),
        || driver_state(lab, node),
        || {
            (!identity.is_alive())
                .then(|| format!("it ended; {}", log_tail(&lab.paths.log(&part), 12)))
        },
    )?;
    Ok(Up::now(format!("{url}  {driver}")))
}

/// Where the plugin's executable is: its name is the driver's name.
fn plugin_path(lab: &Lab, node: Node) -> PathBuf {
    lab.state_of(node).join("plugins/docker")
}

/// A node's processes that run our plugin: one, unless an agent that was killed has left another.
pub fn plugins(lab: &Lab, node: Node) -> Vec<Identity> {
    let pids = netns::pids(&lab.topology.netns(node.name())).into_iter();
    pids.filter(|pid| {
        std::fs::read_link(format!("/proc/{pid}/exe"))
            .is_ok_and(|exe| is_installed_as(&exe, &plugin_path(lab, node)))
    })
    .filter_map(Identity::of)
    .collect()
}

/// Whether a process runs what is, or was, installed there. One that outlived its agent still runs the file that a
/// later `up` has replaced, and the kernel says so behind the name.
fn is_installed_as(exe: &Path, installed: &Path) -> bool {
    let (exe, installed) = (exe.as_os_str().as_bytes(), installed.as_os_str().as_bytes());
    exe.strip_prefix(installed)
        .is_some_and(|rest| matches!(rest, b"" | b" (deleted)"))
}

fn install_plugin(lab: &Lab, node: Node, plugin: &Path) -> Result<()> {
    let target = plugin_path(lab, node);
    if let Some(folder) = target.parent() {
        lab.person.make_dir(folder)?;
    }
    let part = target.with_extension("part");
    std::fs::copy(plugin, &part).with_context(|| format!("copy {}", plugin.display()))?;
    std::fs::rename(&part, &target).context("install the plugin")
}

/// "driver docker: ours", or why not yet.
fn driver_state(lab: &Lab, node: Node) -> Result<String> {
    let nodes = http::get_json(&format!("{}/v1/nodes", lab.topology.nomad_url()), PATIENCE)?;
    let mut nodes = nodes.as_array().into_iter().flatten();
    let Some(found) = nodes.find(|found| found["Name"] == node.name()) else {
        bail!("{} has not registered yet", node.name())
    };
    if found["Status"] != "ready" {
        bail!("the node is {}", found["Status"]);
    }
    let driver = &found["Drivers"]["docker"];
    if driver["Healthy"] != true {
        bail!(
            "driver docker: {}",
            driver["HealthDescription"]
                .as_str()
                .unwrap_or("not detected yet")
        );
    }
    if plugins(lab, node).is_empty() {
        bail!("driver docker is healthy, but it is not ours");
    }
    Ok("driver docker: ours".to_owned())
}

fn configuration(lab: &Lab, node: Node, folder: &Path) -> String {
    let address = lab.topology.node_address(node);
    let (server, servers) = if node == Node::Node1 {
        (SERVER, String::new())
    } else {
        let first = lab.topology.node_address(Node::Node1);
        ("", format!("servers = [\"{first}:4647\"]"))
    };
    format!(
        r#"name = "{name}"
data_dir = "{folder}/data"
plugin_dir = "{plugins}"
bind_addr = "{address}"
disable_update_check = true
leave_on_interrupt = false
leave_on_terminate = false

{server}
client {{
  enabled = true
  {servers}
  network_interface = "eth0"
  cgroup_parent = "{cgroup}"
  # These wait for addresses that only clouds answer.
  options = {{ "fingerprint.denylist" = "env_aws,env_gce,env_azure,env_digitalocean" }}
}}

consul {{ address = "{address}:8500" }}

telemetry {{ publish_allocation_metrics = true }}

# The label is the executable's file name. From 1.10 on a plugin without a block is not started.
plugin "docker" {{
  config {{
    endpoint = "{docker}"
    # A stop waits until the directors send the task nothing any more.
    syncer {{
      socket = "{socket}"
      drain  = "5s"
    }}
  }}
}}
"#,
        name = node.name(),
        folder = folder.display(),
        plugins = plugin_path(lab, node).parent().unwrap_or(folder).display(),
        cgroup = docker::cgroup_parent(lab)
            .replace("/containers", &format!("/{}", lab.part_name(node, PART))),
        docker = lab.docker_host_of(node),
        socket = syncer::socket(lab, node).display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_that_outlived_its_agent_is_still_ours() {
        let installed = Path::new("/s/plugins/docker");
        let ours = |exe: &str| is_installed_as(Path::new(exe), installed);
        assert!(ours("/s/plugins/docker") && ours("/s/plugins/docker (deleted)"));
        assert!(!ours("/s/plugins/docker-ipvs") && !ours("/usr/bin/docker"));
    }
}
