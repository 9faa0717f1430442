//! The programs that this workspace makes and the lab runs: built by the person, never by root.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::host::paths::{self, Person};
use crate::host::privilege::cargo_for;

/// Where the programs are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Products {
    pub driver: PathBuf,
    pub syncer: PathBuf,
}

impl Products {
    /// Beside this program, where one build puts them all.
    pub fn find() -> Result<Self> {
        let folder = folder()?;
        let found = Self {
            driver: folder.join("docker-ipvs"),
            syncer: folder.join("ipvs-syncer"),
        };
        for program in [&found.driver, &found.syncer] {
            if !program.is_file() {
                bail!(
                    "{} is not built; `cargo lab up` builds it, or `cargo build`",
                    program.display()
                );
            }
        }
        Ok(found)
    }
}

/// The lab's own program, also when a test asks.
pub fn lab() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("NOMAD_IPVS_LAB") {
        return Ok(path.into());
    }
    Ok(folder()?.join("lab"))
}

fn folder() -> Result<PathBuf> {
    let own = std::env::current_exe().context("find the own program")?;
    let folder = own.parent().context("the own program has no folder")?;
    // A test binary lies one folder deeper.
    let above = folder.parent().filter(|_| folder.ends_with("deps"));
    Ok(above.unwrap_or(folder).to_owned())
}

/// Builds what is out of date. `cargo` says on the standard error what it compiles.
pub fn build() -> Result<()> {
    let mut command = cargo_for(&Person::find()?);
    // All packages at once, as everywhere: another selection unites other features and compiles dependencies again.
    command.args(["build", "--workspace", "--bins"]);
    if is_release() {
        command.arg("--release");
    }
    let status = command
        .current_dir(paths::workspace())
        .status()
        .context("run cargo build")?;
    if !status.success() {
        bail!("cargo build failed ({status})");
    }
    Ok(())
}

/// Whether this program, and so those beside it, are as they are released.
pub fn is_release() -> bool {
    let own = std::env::current_exe().unwrap_or_default();
    profile_of(&own) == Some("release")
}

fn profile_of(own: &Path) -> Option<&str> {
    own.parent()?.file_name()?.to_str()
}
