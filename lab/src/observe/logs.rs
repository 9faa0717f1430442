//! `lab logs [-f] PART`: what a part has written.

use std::io::{BufRead, BufReader, IsTerminal};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::report::{plain, ui};
use crate::world::context::Lab;

/// Shows the log. A terminal does not get what would steer it; a pipe gets the log as it is.
pub fn run(lab: &Lab, part: &str, follow: bool) -> Result<()> {
    let known = known(lab);
    let Some((_, path)) = known.iter().find(|(name, _)| name == part) else {
        let names: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
        bail!(
            "no log of {part:?}; there is: {}",
            if names.is_empty() {
                "none (is the lab up?)".to_owned()
            } else {
                names.join(", ")
            }
        );
    };
    let mut tail = Command::new("tail");
    tail.args(["-n", "+1"]);
    if follow {
        tail.arg("-F");
    }
    tail.arg(path);
    if !std::io::stdout().is_terminal() {
        return Err(tail.exec()).context("run tail");
    }
    let mut child = tail.stdout(Stdio::piped()).spawn().context("run tail")?;
    let output = child.stdout.take().context("tail has no output")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("read the log")?;
        ui::print(&plain::lines(&String::from_utf8_lossy(&line)));
    }
    child.wait().context("wait for tail").map(drop)
}

fn known(lab: &Lab) -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir(lab.paths.logs()).into_iter().flatten();
    let mut known: Vec<(String, PathBuf)> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            Some((path.file_stem()?.to_str()?.to_owned(), path))
        })
        .collect();
    // The guest can write to its own folder only.
    let director = lab.paths.state.join("director/syncer.log");
    if director.exists() {
        known.push(("syncer-director".to_owned(), director));
    }
    known.sort();
    known
}
