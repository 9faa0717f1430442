//! Our syncer: the director's role inside the director's kernel, the registrar's beside the agents of each node.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};

use super::Up;
use super::service::{self, Launch, Service};
use crate::host::process::log_tail;
use crate::host::wait;
use crate::supply::nftables;
use crate::world::access::Access;
use crate::world::certificates::{self, Files, Purpose};
use crate::world::context::Lab;
use crate::world::forward::Forward;
use crate::world::topology::Node;

/// The program's name, as the kernel shows it.
const PROGRAM: &str = "ipvs-syncer";
const DIRECTOR: &str = "syncer-director";
const REGISTRAR: &str = "syncer-registrar";

/// The part on a node and the TCP port of its status page.
pub const LISTENS: (&str, &[u16]) = (REGISTRAR, &[9180]);

/// Starts both roles unless they run; returns when both have made their first pass.
pub fn up(lab: &Lab, program: &Path) -> Result<Up> {
    ensure!(
        lab.forward != Forward::Dr || nftables::works(),
        "forward dr needs nftables on the node, and this machine has none that works"
    );
    let registrar = registrar_up(lab, Node::Node1, program)?;
    let director = director_up(lab, program)?;
    let (vip, forward) = (lab.topology.vip(), lab.forward.words());
    let finding = format!("director: {vip} rr {forward}");
    Ok(Up::of_all(&[registrar, director], finding))
}

/// Is the director's process there? The guest's pid is on disk, since the guest has no records of its own.
pub fn director_runs(lab: &Lab) -> bool {
    director_pid(lab).is_some_and(|pid| lab.kernel.runs(pid, PROGRAM))
}

/// The configuration that the director runs with.
pub fn director_config(lab: &Lab) -> PathBuf {
    lab.paths.state.join("director/syncer.hcl")
}

/// Starts the registrar unless it runs; returns when it has made its first pass.
pub fn registrar_up(lab: &Lab, node: Node, program: &Path) -> Result<Up> {
    service::up(lab, node, &Registrar { lab, node, program })
}

struct Registrar<'a> {
    lab: &'a Lab,
    node: Node,
    program: &'a Path,
}

impl Service for Registrar<'_> {
    const NAME: &'static str = REGISTRAR;
    const READY_TIMEOUT: Duration = Duration::from_secs(20);

    fn launch(&self) -> Result<Launch> {
        let Self { lab, node, program } = *self;
        let folder = lab.state_of(node).join("syncer");
        lab.person.make_dir(&folder)?;
        let config = folder.join("syncer.hcl");
        let text = registrar_configuration(lab, node, &folder)?;
        lab.person.write_secret(&config, &text)?;
        Ok(Launch {
            program: program.to_owned(),
            args: vec![
                "agent".to_owned(),
                "--config".to_owned(),
                config.display().to_string(),
            ],
            env: Vec::new(),
            netns: Some(lab.topology.netns(node.name())),
        })
    }

    fn ready(&self) -> Result<String> {
        self.lab.syncer(self.node).ready()?;
        Ok(format!("registrar on {}", self.node.name()))
    }
}

/// Ends the director's syncer, politely. The table stays.
pub fn director_end(lab: &Lab) -> Result<()> {
    director_pid(lab).map_or(Ok(()), |pid| lab.kernel.end(pid, PROGRAM))
}

/// Starts the director's syncer unless it runs; returns when it has made its first pass.
pub fn director_up(lab: &Lab, program: &Path) -> Result<Up> {
    let finding = "director";
    if let Some(pid) = director_pid(lab).filter(|&pid| lab.kernel.runs(pid, PROGRAM)) {
        // One that was stopped would never be ready.
        lab.kernel.capture(&["kill", "-CONT", &pid.to_string()])?;
        let is_reconfigured = configure_director(lab)?;
        // Also where the file is as it was: whoever wrote it may have been interrupted before this.
        lab.kernel.capture(&["kill", "-HUP", &pid.to_string()])?;
        director_ready(lab, pid)?;
        return Ok(if is_reconfigured {
            Up::now(finding)
        } else {
            Up::already(finding)
        });
    }
    let pid = director_spawn(lab, program)?;
    director_ready(lab, pid).map(|()| Up::now(finding))
}

/// Writes the director's configuration; says whether it is another than before.
fn configure_director(lab: &Lab) -> Result<bool> {
    let folder = lab.paths.state.join("director");
    lab.person.make_dir(&folder)?;
    let config = director_config(lab);
    let text = director_configuration(lab, &folder)?;
    let is_new = std::fs::read_to_string(&config).ok().as_ref() != Some(&text);
    if is_new {
        lab.person.write_secret(&config, &text)?;
    }
    Ok(is_new)
}

/// Starts the director's syncer and waits for nothing.
pub fn director_spawn(lab: &Lab, program: &Path) -> Result<i32> {
    configure_director(lab)?;
    let config = director_config(lab);
    let log = lab.paths.state.join("director/syncer.log");
    let words = [program.display().to_string(), config.display().to_string()];
    let pid = lab
        .kernel
        .detach(DIRECTOR, &[&words[0], "agent", "--config", &words[1]], &log)?;
    lab.person.write(&pid_file(lab), &pid.to_string())?;
    Ok(pid)
}

fn director_ready(lab: &Lab, pid: i32) -> Result<()> {
    let log = lab.paths.state.join("director/syncer.log");
    wait::until(
        "wait for the director's syncer",
        Duration::from_secs(20),
        || lab.syncer(Node::Director).ready(),
        || (!lab.kernel.runs(pid, PROGRAM)).then(|| format!("it ended; {}", log_tail(&log, 8))),
    )
}

fn pid_file(lab: &Lab) -> PathBuf {
    lab.paths.state.join("director/syncer.pid")
}

/// Of the director's process, in the director's kernel: as it was written down, whether or not it lives.
pub fn director_pid(lab: &Lab) -> Option<i32> {
    std::fs::read_to_string(pid_file(lab))
        .ok()?
        .trim()
        .parse()
        .ok()
}

fn sources(lab: &Lab, folder: &Path, node: Node) -> Result<String> {
    let access = Access::of(lab)?;
    Ok(format!(
        r#"state_dir = "{folder}/state"
consul {{
  address = "{consul}"
  token   = "{consul_token}"
}}
nomad {{
  address = "{nomad}"
  token   = "{nomad_token}"
}}
status {{ listen = "{listen}:9180" }}
"#,
        folder = folder.display(),
        consul_token = access.consul.reveal(),
        nomad_token = access.nomad.reveal(),
        consul = lab.topology.consul_address_of(match node {
            // The director asks the server; a node its own agent.
            Node::Node1 | Node::Node2 => node,
            Node::Client | Node::Director => Node::Node1,
        }),
        nomad = lab.topology.nomad_address(),
        listen = lab.topology.node_address(node),
    ))
}

/// Where VIPs may be, as a list of the configuration.
fn own(lab: &Lab) -> String {
    let ranges = lab.topology.vip_ranges();
    let ranges = ranges.iter().map(|range| format!("\"{range}\""));
    format!("[{}]", ranges.collect::<Vec<_>>().join(", "))
}

/// The block `tls` of a node's hints.
fn tls(lab: &Lab, node: Node) -> Result<String> {
    let Files { ca, cert, key } = certificates::files(lab, Purpose::Hints, node)?;
    Ok(format!(
        r#"  tls {{
    ca_file   = "{}"
    cert_file = "{}"
    key_file  = "{}"
  }}"#,
        ca.display(),
        cert.display(),
        key.display()
    ))
}

/// Where the driver tells the node's syncer what happens to its tasks.
pub fn socket(lab: &Lab, node: Node) -> PathBuf {
    lab.run_of(node).join("syncer.sock")
}

fn registrar_configuration(lab: &Lab, node: Node, folder: &Path) -> Result<String> {
    Ok(format!(
        r#"{sources}
registrar {{}}

{real_server}
hints {{
  socket    = "{socket}"
  directors = ["{director}"]
{tls}
}}
"#,
        sources = sources(lab, folder, node)?,
        real_server = real_server(lab),
        socket = socket(lab, node).display(),
        director = lab.topology.hints_address(Node::Director),
        tls = tls(lab, node)?,
    ))
}

/// The role that direct routing needs, and host ports that lead to containers without the engine, where the machine has what it takes.
fn real_server(lab: &Lab) -> String {
    if !nftables::works() {
        return String::new();
    }
    format!(
        r#"
real_server {{
  interface  = "eth0"
  own        = {own}
  host_ports = true
}}
"#,
        own = own(lab),
    )
}

fn director_configuration(lab: &Lab, folder: &Path) -> Result<String> {
    Ok(format!(
        r#"{sources}
hints {{
  listen = "{listen}"
{tls}
}}

director {{
  interface = "eth0"
  own       = {own}
}}

service "hello-world-servers" {{
  vip       = "{vip}"
  scheduler = "rr"
{forward}
}}
"#,
        sources = sources(lab, folder, Node::Director)?,
        own = own(lab),
        vip = lab.topology.vip(),
        forward = lab.forward.settings(),
        listen = lab.topology.hints_address(Node::Director),
        tls = tls(lab, Node::Director)?,
    ))
}
