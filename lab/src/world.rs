//! The lab's world: which nodes there are and where (a value), the network between them, the kernels below them, the
//! tokens and certificates that close them to others; and [`context::Lab`], one profile's whole of it.

pub mod access;
pub mod certificates;
pub mod context;
pub mod fabric;
pub mod forward;
pub mod kernel;
pub mod topology;
