//! What a lab is made of: distribution packages, Nomad and Consul in the versions asked for, tools, and the workspace's own
//! programs. Fetched or built once, and kept outside of the clone.

pub mod agents;
pub mod nftables;
pub mod packages;
pub mod products;
pub mod tools;
pub mod version;
