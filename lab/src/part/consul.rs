//! Consul: one real server agent on node1, with its data on disk so that a restart forgets nothing.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use super::Up;
use crate::context::Lab;
use crate::process::{Daemon, Identity, log_tail};
use crate::topology::Node;
use crate::{http, wait};

const PART: &str = "consul";

/// The part and the TCP ports of its agent on node1: Raft, the two gossips, HTTP, gRPC and DNS.
pub const LISTENS: (&str, &[u16]) = (PART, &[8300, 8301, 8302, 8500, 8502, 8600]);

/// Starts the agent unless it runs; returns when it has a leader and knows its own node.
pub fn up(lab: &Lab, program: &Path) -> Result<Up> {
    let url = lab.topology.consul_url();
    if let Some(identity) = lab.records.living(PART) {
        // It may have been started, or woken, just now.
        wait_ready(lab, &identity)?;
        return Ok(Up::already(url));
    }
    let folder = lab.paths.state.join("node1/consul");
    lab.person.make_dir(&folder)?;
    let config = folder.join("agent.hcl");
    lab.person.write(&config, &configuration(lab, &folder))?;
    let daemon = Daemon {
        name: PART,
        program,
        args: vec![
            "agent".to_owned(),
            format!("-config-file={}", config.display()),
        ],
        env: Vec::new(),
        netns: Some(lab.topology.netns(Node::Node1.name())),
        log: lab.paths.log(PART),
    };
    let identity = daemon.start()?;
    lab.records.save(PART, &identity)?;
    wait_ready(lab, &identity)?;
    Ok(Up::now(url))
}

fn wait_ready(lab: &Lab, identity: &Identity) -> Result<()> {
    wait::until(
        "wait for Consul",
        Duration::from_secs(30),
        || ready(lab),
        || {
            (!identity.is_alive())
                .then(|| format!("it ended; {}", log_tail(&lab.paths.log(PART), 8)))
        },
    )
}

/// A leader is elected and the agent's own node is in the catalogue: registrations will stay.
pub fn ready(lab: &Lab) -> Result<()> {
    let url = format!("{}/v1/health/node/node1", lab.topology.consul_url());
    let checks = http::get_json(&url, Duration::from_secs(2))?;
    if checks.as_array().is_none_or(Vec::is_empty) {
        bail!("the catalogue doesn't know node1 yet");
    }
    Ok(())
}

fn configuration(lab: &Lab, folder: &Path) -> String {
    let address = lab.topology.node_address(Node::Node1);
    format!(
        r#"node_name = "node1"
datacenter = "dc1"
data_dir = "{folder}/data"
server = true
bootstrap_expect = 1
bind_addr = "{address}"
client_addr = "{address} 127.0.0.1"
ui_config {{ enabled = true }}
connect {{ enabled = true }}
ports {{ grpc = 8502 }}
disable_update_check = true
leave_on_terminate = false
# A single server on one machine elects itself quickly.
performance {{ raft_multiplier = 1 }}
"#,
        folder = folder.display()
    )
}
