//! The director's kernel: the machine's own where it has IPVS, else a guest's.
//!
//! One trait, one file each. Whoever uses it starts programs and asks for their output; where they run is this
//! module's business alone. QEMU, for machines where User-mode Linux doesn't run, would be a third file.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::guest::client::Output;
use crate::world::fabric::DirectorLink;

pub mod host;
pub mod scratch;
pub mod uml;

/// How long a command inside may take that is soon done, on a machine that is busy.
pub const COMMAND_LIMIT: Duration = Duration::from_secs(30);

/// Which kernel the person asked for, or the machine offers.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Choice {
    /// The machine's own kernel, in a network namespace.
    Host,
    /// A guest under User-mode Linux.
    Uml,
}

/// Whether this process's own network namespace has IPVS.
fn host_has_ipvs() -> bool {
    ipvs::Client::open().is_ok()
}

impl Choice {
    /// The host's kernel where the IPVS family resolves.
    pub fn best() -> Self {
        if host_has_ipvs() {
            Self::Host
        } else {
            Self::Uml
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "host",
            Self::Uml => "uml",
        })
    }
}

/// A place with IPVS where programs run.
pub trait Kernel: Sync + Send {
    fn choice(&self) -> Choice;
    /// How the fabric joins it.
    fn link(&self) -> DirectorLink;
    /// Is it there and does it answer?
    fn is_up(&self) -> bool;
    /// Brings it up on an existing fabric.
    fn up(&self) -> Result<()>;
    /// Joined to this process's input, output and signals; returns the exit code, or doesn't return.
    fn attach(&self, argv: &[String]) -> Result<i32>;
    /// Runs a command that is soon done, keeps the output.
    fn capture(&self, argv: &[&str]) -> Result<Output> {
        self.capture_within(argv, COMMAND_LIMIT)
    }
    /// Runs to the end, keeps the output. A command that is not done within `limit` is ended, and that is an error.
    fn capture_within(&self, argv: &[&str], limit: Duration) -> Result<Output>;
    /// Starts a program that stays; a pid that [`Kernel::runs`] understands.
    fn detach(&self, name: &str, argv: &[&str], log: &Path) -> Result<i32>;
    /// Does this pid still run this program?
    fn runs(&self, pid: i32, program: &str) -> bool;
    /// Ends a program that [`Kernel::detach`] started.
    fn end(&self, pid: i32, program: &str) -> Result<()>;
}
