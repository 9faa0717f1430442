//! Nomad: a real agent on each node, on node1 server and client, with our driver in place of its own Docker driver.
//!
//! Or with its own, where that is asked for: what the agent was started with is told by the configuration it reads.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::service::{self, Launch, Service};
use super::{Up, docker, syncer};
use crate::client::nomad::ANSWER_TIMEOUT;
use crate::host::process::Identity;
use crate::host::{netns, proc};
use crate::world::access::Access;
use crate::world::certificates::{self, Purpose};
use crate::world::context::Lab;
use crate::world::topology::Node;

const PART: &str = "nomad";

/// The part and the TCP ports of its agent: HTTP, RPC and gossip.
pub const LISTENS: (&str, &[u16]) = (PART, &[4646, 4647, 4648]);

/// Who runs the tasks that say `driver = "docker"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Driver {
    /// Our plugin.
    #[default]
    Ours,
    /// What Nomad has built in.
    BuiltIn,
}

impl Driver {
    /// The agent's configuration with this driver.
    fn file(self) -> &'static str {
        match self {
            Self::Ours => "agent.hcl",
            Self::BuiltIn => "agent-built-in.hcl",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::BuiltIn => "Nomad's own",
        }
    }
}

/// Starts the agent unless it runs with this driver; returns when its node is ready and its driver `docker` is the
/// wanted one and healthy. `plugin` is our driver's program.
pub fn up(lab: &Lab, node: Node, program: &Path, plugin: &Path, driver: Driver) -> Result<Up> {
    let agent = Agent {
        lab,
        node,
        program,
        plugin,
        driver,
    };
    service::up(lab, node, &agent)
}

/// Starts node1's agent with our driver unless it runs, and waits for nothing.
pub fn start(lab: &Lab, program: &Path, plugin: &Path) -> Result<()> {
    let agent = Agent {
        lab,
        node: Node::Node1,
        program,
        plugin,
        driver: Driver::Ours,
    };
    service::start(lab, Node::Node1, &agent).map(drop)
}

struct Agent<'a> {
    lab: &'a Lab,
    node: Node,
    program: &'a Path,
    plugin: &'a Path,
    driver: Driver,
}

impl Service for Agent<'_> {
    const NAME: &'static str = PART;
    const READY_TIMEOUT: Duration = Duration::from_mins(2);

    /// The tasks of one with another driver go on without it, and the next agent takes them over.
    fn is_wanted(&self, living: &Identity) -> bool {
        names(&proc::arguments(living.pid), self.driver)
    }

    fn launch(&self) -> Result<Launch> {
        let (lab, node) = (self.lab, self.node);
        let folder = lab.state_of(node).join("nomad");
        lab.person.make_dir(&folder)?;
        install_plugin(lab, node, self.plugin)?;
        let config = folder.join(self.driver.file());
        lab.person
            .write_secret(&config, &configuration(lab, node, &folder, self.driver)?)?;
        Ok(Launch {
            program: self.program.to_owned(),
            args: vec!["agent".to_owned(), format!("-config={}", config.display())],
            env: Vec::new(),
            netns: Some(lab.topology.netns(node.name())),
        })
    }

    fn ready(&self) -> Result<String> {
        if self.node == Node::Node1 {
            give_token(self.lab)?;
        }
        let driver = driver_state(self.lab, self.node, self.driver)?;
        Ok(format!("{}  {driver}", self.lab.topology.nomad_address()))
    }
}

/// Where the plugin's executable is: its name is the driver's name.
fn plugin_path(lab: &Lab, node: Node) -> PathBuf {
    lab.state_of(node).join("plugins/docker")
}

/// Whether an agent with these arguments was started with this driver.
fn names(arguments: &[String], driver: Driver) -> bool {
    let mut words = arguments.iter();
    words.any(|word| Path::new(word).ends_with(driver.file()))
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

/// Makes the lab's token the first that Nomad has, unless it is. Whoever asks first gets all rights, so nobody else may
/// reach the server before: the machine is not joined to the fabric yet.
fn give_token(lab: &Lab) -> Result<()> {
    let nomad = lab.nomad().inside(lab, Node::Node1);
    if nomad.get("acl/token/self", ANSWER_TIMEOUT)?.status == 200 {
        return Ok(());
    }
    let token = Access::of(lab)?.nomad;
    let body = serde_json::json!({ "BootstrapSecret": token.reveal() });
    let answer = nomad.post("acl/bootstrap", &body, ANSWER_TIMEOUT)?;
    if answer.status != 200 {
        bail!("Nomad answered {}: {}", answer.status, answer.body.trim());
    }
    Ok(())
}

/// "driver docker: ours", or why not yet.
fn driver_state(lab: &Lab, node: Node, wanted: Driver) -> Result<String> {
    let nodes = lab.nomad().inside(lab, node).nodes()?;
    let Some(found) = nodes.iter().find(|found| found.name == node.name()) else {
        bail!("{} has not registered yet", node.name())
    };
    if found.status != "ready" {
        bail!("the node is {}", found.status);
    }
    let Some(driver) = found.driver("docker") else {
        bail!("driver docker: not detected yet")
    };
    if !driver.healthy {
        bail!("driver docker: {}", driver.health_description);
    }
    let ours = !plugins(lab, node).is_empty();
    if ours != (wanted == Driver::Ours) {
        bail!("driver docker is healthy, but it is not {}", wanted.words());
    }
    // All that may be what the server remembers of the agent before. A new one is at times refused while the server is
    // being elected, asks again 15 s later, and until then no allocation is said to run.
    let agent = lab.nomad_of(node).inside(lab, node);
    if !agent.agent()?.has_registered() {
        bail!("the agent has not registered its node yet");
    }
    Ok(format!("driver docker: {}", wanted.words()))
}

fn configuration(lab: &Lab, node: Node, folder: &Path, driver: Driver) -> Result<String> {
    let access = Access::of(lab)?;
    let files = certificates::files(lab, Purpose::Agents, node)?;
    let address = lab.topology.node_address(node);
    let (server, servers) = if node == Node::Node1 {
        let server = format!(
            r#"
server {{
  enabled = true
  bootstrap_expect = 1
  # A single server on one machine elects itself quickly.
  raft_multiplier = 1
  encrypt = "{}"
}}
"#,
            access.nomad_gossip.reveal()
        );
        (server, String::new())
    } else {
        let first = lab.topology.node_address(Node::Node1);
        (String::new(), format!("servers = [\"{first}:4647\"]"))
    };
    let plugins = plugin_path(lab, node);
    let (plugins, syncer) = match driver {
        Driver::Ours => (
            plugins.parent().unwrap_or(folder).to_owned(),
            format!(
                r#"
    # A stop waits until the directors send the task nothing any more.
    syncer {{
      socket = "{}"
      drain  = "5s"
    }}"#,
                syncer::socket(lab, node).display()
            ),
        ),
        Driver::BuiltIn => (folder.join("no-plugins"), String::new()),
    };
    Ok(format!(
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
  # For jobs whose ports are on the node's IPv6 address; others have its IPv4 address.
  host_network "ipv6" {{ cidr = "{six}" }}
  cgroup_parent = "{cgroup}"
  # On a disk that is four fifths full, Nomad would throw away what has ended at once, logs included.
  gc_disk_usage_threshold  = 100
  gc_inode_usage_threshold = 100
  # These wait for addresses that only clouds answer.
  options = {{ "fingerprint.denylist" = "env_aws,env_gce,env_azure,env_digitalocean" }}
}}

consul {{
  address = "{address}:8500"
  token   = "{consul_token}"
}}

# Other accounts of the machine reach these ports.
acl {{ enabled = true }}
tls {{
  rpc                    = true
  ca_file                = "{ca}"
  cert_file              = "{cert}"
  key_file               = "{key}"
  verify_server_hostname = true
}}

telemetry {{ publish_allocation_metrics = true }}

# The label is the executable's file name. From 1.10 on a plugin without a block is not started.
plugin "docker" {{
  config {{
    endpoint = "{docker}"{syncer}
  }}
}}
"#,
        name = node.name(),
        folder = folder.display(),
        plugins = plugins.display(),
        cgroup = docker::cgroup_parent(lab)
            .replace("/containers", &format!("/{}", lab.part_name(node, PART))),
        docker = lab.docker_host_of(node),
        consul_token = access.consul.reveal(),
        six = lab.topology.six().network(),
        ca = files.ca.display(),
        cert = files.cert.display(),
        key = files.key.display(),
    ))
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

    #[test]
    fn an_agents_driver_is_told_by_the_configuration_it_reads() {
        let arguments = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let line = arguments("/bin/nomad agent -config=/s/nomad/agent-built-in.hcl");
        assert!(names(&line, Driver::BuiltIn) && !names(&line, Driver::Ours));
        assert!(names(
            &arguments("nomad -config=/s/agent.hcl"),
            Driver::Ours
        ));
    }
}
