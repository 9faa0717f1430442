//! The lab as a library: what its binary and the end-to-end tests share.

/// A kernel of the lab's own.
pub use lab_guest as guest;
/// The machine.
pub use lab_host as host;

pub mod client;
pub mod doctor;
pub mod down;
pub mod exec;
pub mod experiment;
pub mod intent;
pub mod observe;
pub mod part;
pub mod report;
pub mod supply;
pub mod test;
pub mod up;
pub mod world;
