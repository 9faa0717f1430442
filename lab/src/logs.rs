//! `lab logs [-f] PART`: what a part has written.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::context::Lab;

/// Shows the log and, when following, becomes `tail`.
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
    Err(tail.arg(path).exec()).context("run tail")
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
