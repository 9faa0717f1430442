//! What a person would set by hand for one VIP and one real server, and how it goes again.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, bail, ensure};

use crate::client::docker::docker;
use crate::host::{command, netns};
use crate::observe::status::RealServer;
use crate::world::context::Lab;
use crate::world::topology::Node;

/// From the second half of the benchmarking range, which no profile uses.
pub(super) const VIP: Ipv4Addr = Ipv4Addr::new(198, 19, 255, 29);

/// The table on the node, for direct routing.
const TABLE: &str = "lab_by_hand";

/// Rules for one real server.
pub(super) struct Rules<'a> {
    lab: &'a Lab,
    method: Method,
}

enum Method {
    /// With the clients' addresses rewritten, as the article does it.
    Masquerade(SocketAddr),
    /// The real server is the node; there packets to the VIP are led to the container.
    DirectRouting {
        node: SocketAddr,
        container: SocketAddr,
    },
}

impl<'a> Rules<'a> {
    /// The same that the syncer has set for this real server.
    pub(super) fn of(lab: &'a Lab, real: &RealServer) -> Result<Self> {
        let method = match real.forward.as_str() {
            "masq" => Method::Masquerade(real.address),
            "dr" => Method::DirectRouting {
                node: SocketAddr::new(real.address.ip(), 80),
                container: container(lab, real.address)?,
            },
            other => bail!("nothing is known of rules by hand for {other}"),
        };
        Ok(Self { lab, method })
    }

    pub(super) fn set(&self) -> Result<()> {
        let forward = match &self.method {
            Method::Masquerade(real) => format!(
                "iptables-legacy -t nat -A {} && ipvsadm -A -t {VIP}:80 -s rr && ipvsadm -a -t {VIP}:80 -r {real} -m",
                masquerade()
            ),
            Method::DirectRouting { node, container } => {
                let rules = format!(
                    "table ip {TABLE} {{ chain vip {{ type nat hook prerouting priority -110; \
                     ip daddr {VIP} tcp dport 80 dnat to {container}; }}; }}"
                );
                self.on_the_node(&["nft", &rules])?;
                format!("ipvsadm -A -t {VIP}:80 -s rr && ipvsadm -a -t {VIP}:80 -r {node} -g")
            }
        };
        self.in_kernel(&format!("ip addr add {VIP}/32 dev eth0 && {forward}"))?;
        self.way("add")
    }

    pub(super) fn unset(&self) -> Result<()> {
        let masquerade = match &self.method {
            Method::Masquerade(_) => format!("iptables-legacy -t nat -D {};", masquerade()),
            Method::DirectRouting { .. } => {
                self.on_the_node(&["nft", "delete", "table", "ip", TABLE])?;
                String::new()
            }
        };
        self.in_kernel(&format!(
            "ipvsadm -D -t {VIP}:80; {masquerade} ip addr del {VIP}/32 dev eth0"
        ))?;
        self.way("del")
    }

    fn in_kernel(&self, script: &str) -> Result<()> {
        let output = self.lab.kernel.capture(&["sh", "-c", script])?;
        ensure!(output.code == 0, "rules by hand: {}", output.stderr.trim());
        Ok(())
    }

    fn on_the_node(&self, words: &[&str]) -> Result<()> {
        let node = self.lab.topology.netns(Node::Node1.name());
        let (program, rest) = words.split_first().context("a command")?;
        netns::within(&node, || command::run(program, rest))?.map(drop)
    }

    /// The client's way to the VIP, which is in no network of the lab.
    fn way(&self, verb: &str) -> Result<()> {
        let topology = &self.lab.topology;
        let client = topology.netns(Node::Client.name());
        let director = topology.node_address(Node::Director).to_string();
        let to = format!("{VIP}/32");
        let words = ["-n", &client, "route", verb, &to, "via", &director];
        command::run("ip", &words).map(drop)
    }
}

fn masquerade() -> String {
    format!("POSTROUTING -m ipvs --vaddr {VIP} --vport 80 -j MASQUERADE")
}

/// Where the container listens that a host port of the first node leads to.
fn container(lab: &Lab, published: SocketAddr) -> Result<SocketAddr> {
    let publish = format!("publish={}", published.port());
    let id = docker(lab, Node::Node1, &["ps", "-q", "--filter", &publish])?;
    let id = id.trim();
    ensure!(!id.is_empty(), "no container has host port {published}");
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}} {{range $port, $_ := .NetworkSettings.Ports}}{{$port}} {{end}}";
    let text = docker(lab, Node::Node1, &["inspect", "--format", format, id])?;
    address(&text).with_context(|| format!("container {id}: {text}"))
}

/// Reads `172.17.0.2 8001/tcp 8001/udp`.
fn address(text: &str) -> Option<SocketAddr> {
    let mut words = text.split_ascii_whitespace();
    let ip = words.next()?.parse().ok()?;
    let port = words.find_map(|word| word.strip_suffix("/tcp"))?;
    Some(SocketAddr::new(ip, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_found_by_its_address_and_its_tcp_port() {
        let text = "172.17.0.2 53/udp 8001/tcp 8001/udp \n";
        assert_eq!(address(text), Some("172.17.0.2:8001".parse().unwrap()));
        for wrong in ["", "172.17.0.2", "172.17.0.2 53/udp", "x 8001/tcp"] {
            assert_eq!(address(wrong), None, "{wrong}");
        }
    }
}
