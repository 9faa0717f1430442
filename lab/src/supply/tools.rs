//! Tools of the Rust world that the checks need, built once into the person's cache.
//!
//! Only cargo-deny so far. On PATH first; a build takes minutes, so it is kept per version and never
//! repeated. Not for programs of the distribution: those are [`crate::supply::packages`].

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::host::paths::Person;
use crate::host::privilege::cargo_for;
use crate::host::programs;
use crate::host::stream;

const DENY: &str = "cargo-deny";
const DENY_VERSION: &str = "0.20.2";

/// How often a long build says how far it is.
const PACE: Duration = Duration::from_secs(10);

/// cargo-deny: the one on PATH, in the cache, or built now.
///
/// # Errors
/// It could not be built, with cargo's last lines.
pub fn cargo_deny(person: &Person, cache: &Path, note: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    if let Some(path) = programs::find(DENY) {
        return Ok(path);
    }
    let tools = cache.join("tools");
    let root = tools.join(format!("{DENY}-{DENY_VERSION}"));
    let path = root.join("bin").join(DENY);
    if programs::is_executable(&path) {
        return Ok(path);
    }
    person.make_dir(&tools)?;
    let lock = tools.join(format!("{DENY}-{DENY_VERSION}.lock"));
    let held = File::create(&lock).with_context(|| format!("open {}", lock.display()))?;
    person.give(&lock)?;
    held.lock()
        .with_context(|| format!("lock {}", lock.display()))?;
    // Whoever held the lock may have built it.
    if !programs::is_executable(&path) {
        build(person, &root, note)?;
    }
    Ok(path)
}

fn build(person: &Person, root: &Path, note: &mut dyn FnMut(&str)) -> Result<()> {
    note(&format!(
        "building {DENY} {DENY_VERSION} once, which takes minutes"
    ));
    let mut command = cargo_for(person);
    command
        .args(["install", "--locked", "--root"])
        .arg(root)
        .arg(format!("{DENY}@{DENY_VERSION}"));
    // A target folder and flags of the person's own are for the person's own code.
    command
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTFLAGS")
        .current_dir("/");
    let mut crates = 0;
    let mut shown = Instant::now();
    let finished = stream::run(command, |line| {
        crates += usize::from(line.trim_start().starts_with("Compiling "));
        if shown.elapsed() >= PACE {
            shown = Instant::now();
            note(&format!("{DENY}: {crates} crates compiled"));
        }
    })
    .context("run cargo install")?;
    if finished.status.success() {
        return Ok(());
    }
    bail!(
        "{DENY} {DENY_VERSION} could not be built:\n{}",
        finished.tail.indented(4)
    )
}
