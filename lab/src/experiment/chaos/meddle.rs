//! An operator's hand in the director's kernel: one command, as somebody types it who means something else.
//!
//! Nothing of it is undone here. The syncer finds it with its next audit.

use std::net::SocketAddr;

use anyhow::{Result, bail, ensure};

use super::episode::Part;
use crate::world::context::Lab;

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
        other => bail!("no hand reaches {other}"),
    };
    let output = lab.kernel.capture(&["sh", "-c", &script])?;
    ensure!(output.code == 0, "{part}: {}", output.stderr.trim());
    Ok(())
}
