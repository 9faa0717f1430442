//! `lab exec NODE -- COMMAND`: runs a command on a node, with input, signals and exit code passed on.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};

use crate::client::env;
use crate::host::netns;
use crate::world::context::Lab;
use crate::world::topology::Node;

/// Returns the exit code, or doesn't return: on a namespace this process becomes the command.
pub fn run(lab: &Lab, node: Node, argv: &[String]) -> Result<i32> {
    if node == Node::Director {
        return lab.kernel.attach(argv);
    }
    let (program, args) = argv.split_first().context("an empty command")?;
    netns::enter(&lab.topology.netns(node.name())).context("is the lab up?")?;
    let mut command = Command::new(program);
    command.args(args);
    for (key, value) in env::variables(lab) {
        command.env(key, value);
    }
    Err(command.exec()).with_context(|| format!("run {program} on {}", node.name()))
}
