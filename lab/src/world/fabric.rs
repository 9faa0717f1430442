//! The network that the lab's nodes share: one bridge in a namespace of its own, one veth to the machine.
//!
//! ```text
//!   machine 198.18.N.1 ── veth ──┐
//!   client  198.18.N.100 ─ veth ─┤ br0 in namespace …-fabric
//!   node1   198.18.N.11 ── veth ─┤
//!   director 198.18.N.28 ─ tap or veth
//! ```
//! Each has an IPv6 address that is written alike, `fd6e:6f6d:6164:N::11`, as far as the machine has IPv6.
//!
//! The bridge stays out of the machine's own namespace, because a FORWARD policy of DROP there (Docker, ufw)
//! would eat bridged frames. The machine gets one address and one connected route, no rule and no forwarding. Its end is
//! plugged in last, when nothing on the fabric is open to whoever comes first: see [`join_machine`].

use anyhow::{Context, Result};

use crate::host::{address, command, netns};
use crate::world::topology::{Node, Topology};

/// The bridge's name inside the fabric.
const BRIDGE: &str = "br0";

/// The fabric's end of the machine's link.
const MACHINE_PORT: &str = "machine0";

/// How the director is joined: a guest opens a tap, a namespace gets a veth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectorLink {
    Tap,
    Veth,
}

/// Is the fabric there, whole?
pub fn is_up(topology: &Topology) -> bool {
    netns::exists(&topology.fabric_netns())
        && std::iter::once(&Node::Client)
            .chain(topology.nodes().all())
            .all(|node| netns::exists(&topology.netns(node.name())))
        && link_exists(&topology.host_link())
}

/// Makes whatever of the fabric is missing.
pub fn up(topology: &Topology, director: DirectorLink) -> Result<()> {
    let fabric = topology.fabric_netns();
    netns::ensure(&fabric)?;
    netns::within(&fabric, || {
        if !link_exists(BRIDGE) {
            command::run(
                "ip",
                &[
                    "link",
                    "add",
                    BRIDGE,
                    "type",
                    "bridge",
                    "forward_delay",
                    "0",
                ],
            )?;
        }
        // Absent where br_netfilter isn't loaded: then nothing filters bridged frames anyway.
        let _ = std::fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", "0");
        command::run("ip", &["link", "set", BRIDGE, "up"])
    })??;
    link_machine(topology, &fabric)?;
    join_node(topology, Node::Client)?;
    for node in topology.nodes().all() {
        join_node(topology, *node)?;
    }
    match director {
        DirectorLink::Veth => join_node(topology, Node::Director),
        DirectorLink::Tap => add_tap(&fabric),
    }
}

/// Removes the machine's end and the namespaces; their links, bridge and taps go with them.
pub fn down(topology: &Topology) -> Result<()> {
    let link = topology.host_link();
    if link_exists(&link) {
        command::run("ip", &["link", "delete", &link])?;
    }
    for netns in topology.all_netns() {
        netns::remove(&netns)?;
    }
    Ok(())
}

/// Takes a node off the fabric, as if its cable were pulled: its own links stay up, and what it says reaches nobody.
pub fn cut(topology: &Topology, node: Node) -> Result<()> {
    let (fabric, port) = (topology.fabric_netns(), port(node));
    command::run("ip", &["-n", &fabric, "link", "set", &port, "nomaster"]).map(drop)
}

/// Puts it back. One that is on the fabric stays there.
pub fn mend(topology: &Topology, node: Node) -> Result<()> {
    attach(&topology.fabric_netns(), &port(node))
}

/// The fabric's end of a node's link.
fn port(node: Node) -> String {
    format!("{}0", node.name())
}

/// The guest's end of the fabric.
pub fn director_tap() -> &'static str {
    "director0"
}

/// Plugs the machine in: from now on every account on it reaches what listens on the fabric.
pub fn join_machine(topology: &Topology) -> Result<()> {
    attach(&topology.fabric_netns(), MACHINE_PORT)
}

fn link_machine(topology: &Topology, fabric: &str) -> Result<()> {
    let link = topology.host_link();
    if link_exists(&link) {
        return Ok(());
    }
    command::run(
        "ip",
        &[
            "link",
            "add",
            &link,
            "type",
            "veth",
            "peer",
            "name",
            MACHINE_PORT,
            "netns",
            fabric,
        ],
    )?;
    address::add(&link, &format!("{}/24", topology.host_address()))?;
    // Whoever wants no IPv6 on this machine gets none.
    address::add(&link, &format!("{}/64", topology.six().machine()))?;
    command::run("ip", &["link", "set", &link, "up"]).map(drop)
}

fn join_node(topology: &Topology, node: Node) -> Result<()> {
    let (fabric, inside) = (topology.fabric_netns(), topology.netns(node.name()));
    netns::ensure(&inside)?;
    let outside = port(node);
    if netns::within(&inside, || link_exists("eth0"))? {
        return Ok(());
    }
    command::run(
        "ip",
        &[
            "-n", &inside, "link", "add", "eth0", "type", "veth", "peer", "name", &outside,
            "netns", &fabric,
        ],
    )?;
    attach(&fabric, &outside)?;
    let addresses = topology.addresses_of(node);
    netns::within(&inside, || {
        address::let_have_six("eth0");
        for address in &addresses {
            address::add("eth0", address)?;
        }
        command::run("ip", &["link", "set", "eth0", "up"]).map(drop)
    })?
}

fn add_tap(fabric: &str) -> Result<()> {
    if netns::within(fabric, || link_exists(director_tap()))? {
        return Ok(());
    }
    command::run(
        "ip",
        &["-n", fabric, "tuntap", "add", director_tap(), "mode", "tap"],
    )
    .context("a tap needs /dev/net/tun (module tun)")?;
    attach(fabric, director_tap())
}

fn attach(fabric: &str, link: &str) -> Result<()> {
    command::run(
        "ip",
        &["-n", fabric, "link", "set", link, "master", BRIDGE, "up"],
    )
    .map(drop)
}

/// In the calling thread's namespace. Asked of the kernel, since /sys shows another namespace's links.
fn link_exists(link: &str) -> bool {
    nix::net::if_::if_nametoindex(link).is_ok()
}
