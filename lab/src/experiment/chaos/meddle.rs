//! An operator's hand in the kernels of director and node: one command, as somebody types it who means something else.
//!
//! Nothing of it is undone here. The syncer finds it with its next audit.

use std::net::SocketAddr;

use anyhow::{Result, bail, ensure};

use super::episode::Part;
use crate::host::{command, netns};
use crate::world::context::Lab;
use crate::world::topology::Node;

/// A real server that nobody asked for, and that nobody is: from the half of the benchmarking range that no profile uses.
const STRANGER: &str = "198.19.255.79:80";

/// Whether a real server is the stranger.
pub(super) fn is_stranger(address: &SocketAddr) -> bool {
    STRANGER
        .parse()
        .is_ok_and(|stranger: SocketAddr| stranger == *address)
}

/// Does it. An error: what was to be changed is not there.
pub(super) fn with(lab: &Lab, part: Part) -> Result<()> {
    let vip = lab.topology.vip();
    let script = match part {
        Part::Sysctl => "echo 0 > /proc/sys/net/ipv4/vs/conntrack".to_owned(),
        Part::Address => format!("ip address del {}/32 dev eth0", vip.ip()),
        // Whichever of the two has them; a kernel may lack one.
        Part::Rule => "nft flush ruleset && done=1; iptables-legacy -t nat -F && done=1; \
                       [ \"$done\" = 1 ]"
            .to_owned(),
        Part::Table => format!("ipvsadm -a -t {vip} -r {STRANGER} -m -w 1"),
        Part::NodeRule => return remove_tables(lab),
        other => bail!("no hand reaches {other}"),
    };
    let output = lab.kernel.capture(&["sh", "-c", &script])?;
    ensure!(output.code == 0, "{part}: {}", output.stderr.trim());
    Ok(())
}

/// Removes the syncer's tables on the first node. That of direct routing is there only with a service that is forwarded so.
fn remove_tables(lab: &Lab) -> Result<()> {
    let remove = |table: &str| command::run("nft", &["delete", "table", "ip", table]);
    let both = || {
        let direct = remove("nomad_ipvs_direct");
        remove("nomad_ipvs_ports").or(direct)
    };
    netns::within(&lab.topology.netns(Node::Node1.name()), both)??;
    Ok(())
}
