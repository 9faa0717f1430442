//! Installing, with the machine left as quiet as it was.
//!
//! The work is done by a small shell script in a process of its own, which puts the policy that keeps
//! services from starting back where it was whatever happens. Afterwards the services of packages that were
//! not there before are disabled. Not for choosing packages.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::unistd::Uid;

use super::{command_line, units};
use crate::host::programs;
use crate::host::stream::{self, Finished};

const SCRIPT: &str = include_str!("install.sh");
const POLICY: &str = "/usr/sbin/policy-rc.d";
const LOCK: &str = "/run/nomad-ipvs-packages.lock";

/// Installs packages; `note` hears what apt is doing. Returns the names of all that came, with what they
/// depend on.
///
/// # Errors
/// Not root, or apt's own last lines. The policy is back and nothing is running in that case too.
pub fn install(packages: &[&str], note: &mut dyn FnMut(&str)) -> Result<Vec<String>> {
    if packages.is_empty() {
        return Ok(Vec::new());
    }
    if !Uid::effective().is_root() {
        bail!(
            "only root can install packages: sudo {}",
            command_line(packages)
        );
    }
    let before = installed()?;
    note(&format!("installing {}", packages.join(", ")));
    let finished = run_script(Path::new(POLICY), Path::new(LOCK), packages, None, note)?;
    let new: Vec<String> = installed()?.difference(&before).cloned().collect();
    // Also when apt failed half-way: what it did bring must not come up at the next boot.
    let left = units::silence(&new);
    if !finished.status.success() {
        bail!(
            "apt could not install {}:\n{}",
            packages.join(", "),
            finished.tail.indented(4)
        );
    }
    left?;
    Ok(new)
}

fn run_script(
    policy: &Path,
    lock: &Path,
    packages: &[&str],
    path: Option<&str>,
    note: &mut dyn FnMut(&str),
) -> Result<Finished> {
    let shell = programs::find("sh").context("there is no sh")?;
    let mut command = Command::new(shell);
    command
        .args(["-c", SCRIPT, "nomad-ipvs-packages"])
        .arg(policy)
        .arg(lock)
        .args(packages)
        .env("LC_ALL", "C.UTF-8");
    if let Some(path) = path {
        command.env("PATH", path);
    }
    stream::run(command, |line| {
        if let Some(text) = worth_saying(line) {
            note(text);
        }
    })
    .context("run the script that installs packages")
}

/// apt says much; what a person wants to see is which package it is at.
fn worth_saying(line: &str) -> Option<&str> {
    let starts = ["Need to get ", "Unpacking ", "Setting up ", "refreshing "];
    starts
        .iter()
        .any(|start| line.starts_with(start))
        .then(|| line.trim_end_matches(" ..."))
}

/// Names of the packages that are installed now.
fn installed() -> Result<BTreeSet<String>> {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat", "${db:Status-Abbrev} ${Package}\n"]);
    let text = stream::answer(&mut query, Duration::from_secs(30))
        .context("dpkg-query does not answer")?;
    Ok(installed_in(&text))
}

fn installed_in(text: &str) -> BTreeSet<String> {
    // Three letters: wanted, state, error. Removed packages whose settings stay are "rc".
    text.lines()
        .filter(|line| line.get(1..2) == Some("i"))
        .filter_map(|line| line.split_whitespace().last())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests;
