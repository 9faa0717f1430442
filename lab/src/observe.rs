//! What can be seen of a lab: the views of Nomad, Consul and the kernel beside each other, what a client gets, and logs.
//!
//! Changes nothing. Experiments and stories judge by what is seen here.

pub mod arp;
pub mod datagrams;
pub mod load;
pub mod logs;
pub mod status;
