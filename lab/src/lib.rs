//! The lab as a library: what its binary and the end-to-end tests share.

pub mod agents;
pub mod doctor;
pub mod packages;
pub mod paths;
pub mod ports;
pub mod privilege;
pub mod programs;
pub mod stream;
pub mod test;
pub mod tools;
pub mod ui;
pub mod version;
