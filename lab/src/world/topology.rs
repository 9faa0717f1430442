//! Who is where on the fabric: names and addresses of one profile, as values.
//!
//! Each profile has one subnet of the benchmarking range 198.18.0.0/15, so that several labs stand side by
//! side and the addresses answer in the person's own shell. Nothing here touches the system.

mod six;

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Result, bail};
use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

pub use six::Six;

/// A lab of its own: name, subnet, which nodes there are, and everything derived from them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    profile: String,
    subnet: u8,
    nodes: Nodes,
}

/// A place where a command can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Node {
    /// Where requests come from.
    Client,
    /// The first Nomad client node, and the servers' node: engine, agents, registrar.
    Node1,
    /// A second Nomad client node, where the lab has one.
    Node2,
    /// The machine that runs IPVS.
    Director,
}

impl Node {
    /// All, as far as a fabric can reach.
    pub const ALL: [Self; 4] = [Self::Client, Self::Node1, Self::Node2, Self::Director];

    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Node1 => "node1",
            Self::Node2 => "node2",
            Self::Director => "director",
        }
    }

    /// The node's last octet.
    fn host(self) -> u8 {
        match self {
            Self::Node1 => 11,
            Self::Node2 => 12,
            Self::Director => 28,
            Self::Client => 100,
        }
    }
}

/// How many Nomad client nodes there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
pub enum Nodes {
    #[default]
    #[value(name = "1")]
    One,
    #[value(name = "2")]
    Two,
}

impl Nodes {
    pub fn all(self) -> &'static [Node] {
        match self {
            Self::One => &[Node::Node1],
            Self::Two => &[Node::Node1, Node::Node2],
        }
    }
}

impl Topology {
    /// `default` owns 198.18.0.0/24; `test` and `bench` have theirs; any other name gets one by its letters.
    pub fn of(profile: &str) -> Result<Self> {
        let fits = !profile.is_empty()
            && profile.len() <= 12
            && profile
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !fits {
            bail!("profile {profile:?}: up to 12 small letters, digits and hyphens are expected");
        }
        let subnet = match profile {
            "default" => 0,
            "test" => 1,
            "bench" => 2,
            "kernel" => 3,
            other => {
                let sum = other
                    .bytes()
                    .fold(0_u32, |sum, byte| sum.wrapping_mul(31) + u32::from(byte));
                u8::try_from(sum % 246).unwrap_or(0) + 10
            }
        };
        Ok(Self {
            profile: profile.to_owned(),
            subnet,
            nodes: Nodes::default(),
        })
    }

    /// The same lab with so many nodes.
    #[must_use]
    pub fn with(self, nodes: Nodes) -> Self {
        Self { nodes, ..self }
    }

    /// Where tasks run.
    pub fn nodes(&self) -> Nodes {
        self.nodes
    }

    pub fn profile(&self) -> &str {
        &self.profile
    }

    fn address(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, self.subnet, host)
    }

    /// The subnet in CIDR notation.
    pub fn subnet(&self) -> String {
        self.network().to_string()
    }

    pub fn network(&self) -> Ipv4Net {
        Ipv4Net::new_assert(self.address(0), 24)
    }

    /// The same in IPv6.
    pub fn six(&self) -> Six {
        Six::of(self.subnet)
    }

    /// Both networks that the fabric takes of the machine's own.
    pub fn networks(&self) -> [IpNet; 2] {
        [self.network().into(), self.six().network().into()]
    }

    /// The machine's own address on the fabric.
    pub fn host_address(&self) -> Ipv4Addr {
        self.address(1)
    }

    pub fn node_address(&self, node: Node) -> Ipv4Addr {
        self.address(node.host())
    }

    /// A node's addresses of both families, each with the length of its network.
    pub fn addresses_of(&self, node: Node) -> [String; 2] {
        let four = format!("{}/24", self.node_address(node));
        [four, format!("{}/64", self.six().node(node))]
    }

    /// The articles' director address: where hello-world answers.
    pub fn vip(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.address(29), 80)
    }

    /// A second one, for the stories that need their own service.
    pub fn second_vip(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.address(30), 80)
    }

    /// One whose servers answer their clients themselves.
    pub fn direct_vip(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.address(32), 80)
    }

    /// One for datagrams.
    pub fn echo_vip(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.address(33), 7)
    }

    /// One for what a virtual service does when not all is well.
    pub fn guarded_vip(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.address(34), 80)
    }

    /// A third, for measuring.
    pub fn third_vip(&self) -> Ipv4Addr {
        self.address(31)
    }

    /// Where VIPs may be: nobody of the lab has an address there.
    pub fn vip_ranges(&self) -> Vec<IpNet> {
        let range = |(host, length)| Ipv4Net::new_assert(self.address(host), length).into();
        let four = [(29, 32), (30, 31), (32, 27)].map(range);
        four.into_iter().chain([self.six().vips().into()]).collect()
    }

    /// Network namespace of a node, or of the fabric itself.
    pub fn netns(&self, node: &str) -> String {
        format!("nomad-ipvs-{}-{node}", self.profile)
    }

    /// Every namespace that this lab may have.
    pub fn all_netns(&self) -> Vec<String> {
        let nodes = Node::ALL.iter().map(|node| self.netns(node.name()));
        std::iter::once(self.fabric_netns()).chain(nodes).collect()
    }

    pub fn fabric_netns(&self) -> String {
        self.netns("fabric")
    }

    /// The machine's end of the one veth that joins it to the fabric; at most 15 letters.
    pub fn host_link(&self) -> String {
        format!("nilab{}", self.subnet)
    }

    /// Where Consul's server answers, to those who have its token: see [`crate::client::api`].
    pub fn consul_address(&self) -> String {
        self.consul_address_of(Node::Node1)
    }

    /// Where a node's own Consul agent answers.
    pub fn consul_address_of(&self, node: Node) -> String {
        format!("http://{}:8500", self.node_address(node))
    }

    /// Where Nomad's server answers, to those who have its token: see [`crate::client::api`].
    pub fn nomad_address(&self) -> String {
        self.nomad_address_of(Node::Node1)
    }

    /// Where a node's own Nomad agent answers.
    pub fn nomad_address_of(&self, node: Node) -> String {
        format!("http://{}:4646", self.node_address(node))
    }

    /// Where the syncer of a director takes the nodes' hints.
    pub fn hints_address(&self, node: Node) -> SocketAddrV4 {
        SocketAddrV4::new(self.node_address(node), 9181)
    }

    /// Where the syncer of a node tells its state.
    pub fn syncer_url(&self, node: Node) -> String {
        format!("http://{}:9180", self.node_address(node))
    }
}

#[cfg(test)]
mod tests;
