//! Tools of the Rust world that the checks need, built once into the person's cache.
//!
//! On PATH first; a build takes minutes, so it is kept per version and never repeated. Not for programs of the distribution: those are [`crate::supply::packages`].

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::host::paths::Person;
use crate::host::privilege::cargo_for;
use crate::host::programs;
use crate::host::stream;

/// A program that cargo builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tool {
    name: &'static str,
    version: &'static str,
}

/// Licences, sources and bans.
pub const DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
};

/// Dependencies that nothing uses.
pub const MACHETE: Tool = Tool {
    name: "cargo-machete",
    version: "0.9.2",
};

/// How often a long build says how far it is.
const PACE: Duration = Duration::from_secs(10);

impl Tool {
    /// The one on PATH, in the cache, or built now.
    ///
    /// # Errors
    /// It could not be built, with cargo's last lines.
    pub fn ensure(
        self,
        person: &Person,
        cache: &Path,
        note: &mut dyn FnMut(&str),
    ) -> Result<PathBuf> {
        let Self { name, version } = self;
        if let Some(path) = programs::find(name) {
            return Ok(path);
        }
        let tools = cache.join("tools");
        let root = tools.join(format!("{name}-{version}"));
        let path = root.join("bin").join(name);
        if programs::is_executable(&path) {
            return Ok(path);
        }
        person.make_dir(&tools)?;
        let lock = tools.join(format!("{name}-{version}.lock"));
        let held = File::create(&lock).with_context(|| format!("open {}", lock.display()))?;
        person.give(&lock)?;
        held.lock()
            .with_context(|| format!("lock {}", lock.display()))?;
        // Whoever held the lock may have built it.
        if !programs::is_executable(&path) {
            self.build(person, &root, note)?;
        }
        Ok(path)
    }

    fn build(self, person: &Person, root: &Path, note: &mut dyn FnMut(&str)) -> Result<()> {
        let Self { name, version } = self;
        note(&format!(
            "building {name} {version} once, which takes minutes"
        ));
        let mut command = cargo_for(person);
        command
            .args(["install", "--locked", "--root"])
            .arg(root)
            .arg(format!("{name}@{version}"));
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
                note(&format!("{name}: {crates} crates compiled"));
            }
        })
        .context("run cargo install")?;
        if finished.status.success() {
            return Ok(());
        }
        bail!(
            "{name} {version} could not be built:\n{}",
            finished.tail.indented(4)
        )
    }
}
