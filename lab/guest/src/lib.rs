//! A kernel of our own under User-mode Linux, and the way into it.
//!
//! ```text
//!  lab exec ──unix socket──▶ keeper ──frames on the guest's second console──▶ server ──▶ processes in the guest
//!                            (host; owns linux.uml)                           (guest; child of init)
//! ```
//! The guest's root is the machine's, read-only, so that freshly built programs run inside unchanged. Nothing
//! listens on the network. A unix socket on the shared root can't be reached from inside: hence the console.

pub mod client;
pub mod console;
pub mod frame;
pub mod init;
pub mod keeper;
mod nudge;
mod processor;
pub mod server;
pub mod window;
