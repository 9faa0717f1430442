//! A node's way out, for image pulls: slirp4netns, a user-space network stack that speaks for the namespace.
//!
//! No forwarding, no address translation and no route is set up on the machine itself, and the machine's own loopback is
//! not reachable through it. A lab without one works with the images it makes.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::context::Lab;
use crate::process::{Daemon, log_tail};
use crate::topology::Node;
use crate::{netns, programs, wait};

const PART: &str = "outlet";

/// The device inside the node; it has the default route.
const DEVICE: &str = "out0";

/// Starts it unless it runs.
///
/// # Errors
/// There is none, and why; the lab goes on without.
pub fn up(lab: &Lab, node: Node) -> Result<()> {
    let part = lab.part_name(node, PART);
    if lab.records.living(&part).is_some() {
        return Ok(());
    }
    ensure!(
        Path::new("/dev/net/tun").exists(),
        "there is no /dev/net/tun (modprobe tun)"
    );
    let program = programs::find("slirp4netns").context("slirp4netns is not on PATH")?;
    let netns = lab.topology.netns(node.name());
    let words = [
        "--configure",
        "--mtu=65520",
        "--disable-host-loopback",
        "--netns-type=path",
    ];
    let mut args: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
    args.extend([netns::path(&netns).display().to_string(), DEVICE.to_owned()]);
    let daemon = Daemon {
        name: &part,
        program: &program,
        args,
        env: Vec::new(),
        netns: None,
        log: lab.paths.log(&part),
    };
    let identity = daemon.start()?;
    wait::until(
        "wait for the way out",
        Duration::from_secs(5),
        || {
            let routes = netns::within(&netns, || {
                std::fs::read_to_string("/proc/thread-self/net/route").unwrap_or_default()
            })?;
            ensure!(routes.contains(DEVICE), "no route leads to {DEVICE} yet");
            Ok(())
        },
        || {
            (!identity.is_alive())
                .then(|| format!("it ended; {}", log_tail(&lab.paths.log(&part), 4)))
        },
    )?;
    lab.records.save(&part, &identity)
}
