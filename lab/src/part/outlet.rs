//! A node's way out, for image pulls: slirp4netns, a user-space network stack that speaks for the namespace.
//!
//! No forwarding, no address translation and no route is set up on the machine itself, and the machine's own loopback is
//! not reachable through it. A lab without one works with the images it makes.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::service::{self, Launch, Service};
use crate::host::{netns, programs};
use crate::world::context::Lab;
use crate::world::topology::Node;

/// The device inside the node; it has the default route.
const DEVICE: &str = "out0";

/// Starts it unless it runs.
///
/// # Errors
/// There is none, and why; the lab goes on without.
pub fn up(lab: &Lab, node: Node) -> Result<()> {
    let netns = lab.topology.netns(node.name());
    service::up(lab, node, &Outlet { netns }).map(drop)
}

struct Outlet {
    netns: String,
}

impl Service for Outlet {
    const NAME: &'static str = "outlet";
    const READY_TIMEOUT: Duration = Duration::from_secs(5);

    fn launch(&self) -> Result<Launch> {
        ensure!(
            Path::new("/dev/net/tun").exists(),
            "there is no /dev/net/tun (modprobe tun)"
        );
        let words = [
            "--configure",
            "--mtu=65520",
            "--disable-host-loopback",
            "--netns-type=path",
        ];
        let mut args: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        let namespace = netns::path(&self.netns).display().to_string();
        args.extend([namespace, DEVICE.to_owned()]);
        Ok(Launch {
            program: programs::find("slirp4netns").context("slirp4netns is not on PATH")?,
            args,
            env: Vec::new(),
            // It stands outside and reaches in.
            netns: None,
        })
    }

    fn ready(&self) -> Result<String> {
        let routes = netns::within(&self.netns, || {
            std::fs::read_to_string("/proc/thread-self/net/route").unwrap_or_default()
        })?;
        ensure!(routes.contains(DEVICE), "no route leads to {DEVICE} yet");
        Ok(DEVICE.to_owned())
    }
}
