//! The APIs of Consul's agents. Their documents are read by whoever asks.

use super::api::{Api, Headers};
use crate::world::access::Access;
use crate::world::context::Lab;
use crate::world::topology::Node;

const HEADERS: Headers = Headers {
    token: "X-Consul-Token",
    index: "X-Consul-Index",
};

impl Lab {
    /// The API of Consul's server.
    pub fn consul(&self) -> Api {
        self.consul_of(Node::Node1)
    }

    /// The API of a node's Consul agent.
    pub fn consul_of(&self, node: Node) -> Api {
        let token = Access::of(self).ok().map(|access| access.consul);
        Api::new(&self.topology.consul_address_of(node), HEADERS, token)
    }
}
