//! Consul: a real server agent on node1 and a client agent on any other, with data on disk so that a restart forgets
//! nothing.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use super::Up;
use crate::access::Access;
use crate::certificates::{self, Purpose};
use crate::context::Lab;
use crate::process::{Daemon, Identity, log_tail};
use crate::topology::Node;
use crate::wait;

const PART: &str = "consul";

/// The part and the TCP ports of its agent: Raft, the two gossips, HTTP, gRPC and DNS.
pub const LISTENS: (&str, &[u16]) = (PART, &[8300, 8301, 8302, 8500, 8502, 8600]);

/// How long one answer may take.
const ANSWERING: Duration = Duration::from_secs(2);

/// Starts the agent unless it runs; returns when it has a leader and knows its own node.
pub fn up(lab: &Lab, node: Node, program: &Path) -> Result<Up> {
    let url = lab.topology.consul_address_of(node);
    let part = lab.part_name(node, PART);
    if let Some(identity) = lab.records.living(&part) {
        // It may have been started, or woken, just now.
        wait_ready(lab, node, &identity)?;
        return Ok(Up::already(url));
    }
    let folder = lab.state_of(node).join("consul");
    lab.person.make_dir(&folder)?;
    let config = folder.join("agent.hcl");
    lab.person
        .write_secret(&config, &configuration(lab, node, &folder)?)?;
    let daemon = Daemon {
        name: &part,
        program,
        args: vec![
            "agent".to_owned(),
            format!("-config-file={}", config.display()),
        ],
        env: Vec::new(),
        netns: Some(lab.topology.netns(node.name())),
        log: lab.paths.log(&part),
    };
    let identity = daemon.start()?;
    lab.records.save(&part, &identity)?;
    wait_ready(lab, node, &identity)?;
    Ok(Up::now(url))
}

fn wait_ready(lab: &Lab, node: Node, identity: &Identity) -> Result<()> {
    let log = lab.paths.log(&lab.part_name(node, PART));
    wait::until(
        "wait for Consul",
        Duration::from_secs(30),
        || ready(lab, node),
        || (!identity.is_alive()).then(|| format!("it ended; {}", log_tail(&log, 8))),
    )
}

/// A leader is elected and the agent's own node is in the catalogue: registrations will stay.
fn ready(lab: &Lab, node: Node) -> Result<()> {
    let agent = lab.inside(node, lab.consul_of(node));
    let checks = agent.get_json(&format!("health/node/{}", node.name()), ANSWERING)?;
    if checks.as_array().is_none_or(Vec::is_empty) {
        bail!("the catalogue doesn't know {} yet", node.name());
    }
    Ok(())
}

fn configuration(lab: &Lab, node: Node, folder: &Path) -> Result<String> {
    let access = Access::of(lab)?;
    let files = certificates::files(lab, Purpose::Agents, node)?;
    let address = lab.topology.node_address(node);
    let role = if node == Node::Node1 {
        "server = true\nbootstrap_expect = 1".to_owned()
    } else {
        format!(
            "retry_join = [\"{}\"]",
            lab.topology.node_address(Node::Node1)
        )
    };
    Ok(format!(
        r#"node_name = "{name}"
datacenter = "dc1"
data_dir = "{folder}/data"
{role}
bind_addr = "{address}"
client_addr = "{address} 127.0.0.1"
ui_config {{ enabled = true }}
connect {{ enabled = true }}
ports {{ grpc = 8502 }}
disable_update_check = true
leave_on_terminate = false
# A single server on one machine elects itself quickly.
performance {{ raft_multiplier = 1 }}
# Other accounts of the machine reach these ports.
encrypt = "{gossip}"
acl {{
  enabled        = true
  default_policy = "deny"
  tokens {{
    initial_management = "{token}"
    agent              = "{token}"
  }}
}}
tls {{
  internal_rpc {{
    ca_file                = "{ca}"
    cert_file              = "{cert}"
    key_file               = "{key}"
    verify_incoming        = true
    verify_outgoing        = true
    verify_server_hostname = true
  }}
}}
"#,
        name = node.name(),
        folder = folder.display(),
        gossip = access.consul_gossip.reveal(),
        token = access.consul.reveal(),
        ca = files.ca.display(),
        cert = files.cert.display(),
        key = files.key.display(),
    ))
}
