//! Consul: a real server agent on node1 and a client agent on any other, with data on disk so that a restart forgets
//! nothing.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use super::Up;
use super::service::{self, Launch, Service};
use crate::world::access::Access;
use crate::world::certificates::{self, Purpose};
use crate::world::context::Lab;
use crate::world::topology::Node;

const PART: &str = "consul";

/// The part and the TCP ports of its agent: Raft, the two gossips, HTTP, gRPC and DNS.
pub const LISTENS: (&str, &[u16]) = (PART, &[8300, 8301, 8302, 8500, 8502, 8600]);

/// Starts the agent unless it runs; returns when it has a leader and knows its own node.
pub fn up(lab: &Lab, node: Node, program: &Path) -> Result<Up> {
    service::up(lab, node, &Agent { lab, node, program })
}

struct Agent<'a> {
    lab: &'a Lab,
    node: Node,
    program: &'a Path,
}

impl Service for Agent<'_> {
    const NAME: &'static str = PART;
    const READY_TIMEOUT: Duration = Duration::from_secs(30);

    fn launch(&self) -> Result<Launch> {
        let Self { lab, node, program } = *self;
        let folder = lab.state_of(node).join("consul");
        lab.person.make_dir(&folder)?;
        let config = folder.join("agent.hcl");
        lab.person
            .write_secret(&config, &configuration(lab, node, &folder)?)?;
        Ok(Launch {
            program: program.to_owned(),
            args: vec![
                "agent".to_owned(),
                format!("-config-file={}", config.display()),
            ],
            env: Vec::new(),
            netns: Some(lab.topology.netns(node.name())),
        })
    }

    /// A leader is elected and the agent's own node is in the catalogue: registrations will stay.
    fn ready(&self) -> Result<String> {
        let agent = self.lab.consul_of(self.node).inside(self.lab, self.node);
        if agent.checks_of(self.node)?.is_empty() {
            bail!("the catalogue doesn't know {} yet", self.node.name());
        }
        Ok(self.lab.topology.consul_address_of(self.node))
    }
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
