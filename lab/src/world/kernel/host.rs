//! The machine's own kernel: the director is a network namespace.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Choice, Kernel};
use crate::guest::client::Output;
use crate::host::process::{Daemon, Identity};
use crate::host::{command, netns, proc};
use crate::world::fabric::DirectorLink;
use crate::world::topology::{Node, Topology};

/// The director as a namespace of the machine.
#[derive(Debug)]
pub struct Host {
    netns: String,
}

impl Host {
    pub fn new(topology: &Topology) -> Self {
        Self {
            netns: topology.netns(Node::Director.name()),
        }
    }
}

impl Kernel for Host {
    fn choice(&self) -> Choice {
        Choice::Host
    }

    fn link(&self) -> DirectorLink {
        DirectorLink::Veth
    }

    fn is_up(&self) -> bool {
        netns::exists(&self.netns)
    }

    /// The fabric has made it already.
    fn up(&self) -> Result<()> {
        Ok(())
    }

    fn attach(&self, argv: &[String]) -> Result<i32> {
        let (program, args) = argv.split_first().context("an empty command")?;
        netns::enter(&self.netns)?;
        Err(Command::new(program).args(args).exec()).with_context(|| format!("run {program}"))
    }

    fn capture_within(&self, argv: &[&str], limit: Duration) -> Result<Output> {
        let (program, args) = argv.split_first().context("an empty command")?;
        let mut command = Command::new(program);
        command.args(args);
        let output = netns::within(&self.netns, || command::output(&mut command, limit))??;
        Ok(Output {
            code: output.status.code().unwrap_or(128),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    fn detach(&self, name: &str, argv: &[&str], log: &Path) -> Result<i32> {
        let (program, args) = argv.split_first().context("an empty command")?;
        let daemon = Daemon {
            name,
            program: Path::new(program),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            env: Vec::new(),
            netns: Some(self.netns.clone()),
            log: log.to_owned(),
        };
        daemon.start().map(|identity| identity.pid)
    }

    fn runs(&self, pid: i32, program: &str) -> bool {
        // A process that was just started is still `setsid`, whose argument is the program that it becomes.
        let words = proc::arguments(pid).into_iter().take(2);
        let named = words
            .map(PathBuf::from)
            .any(|word| word.file_name() == Some(program.as_ref()));
        named && netns::pids(&self.netns).contains(&pid)
    }

    fn end(&self, pid: i32, program: &str) -> Result<()> {
        if self.runs(pid, program)
            && let Some(identity) = Identity::of(pid)
        {
            identity.stop(Duration::from_secs(5));
        }
        Ok(())
    }
}
