//! The programs that this workspace makes and the lab runs: built by the person, never by root.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::host::paths::{self, Person};
use crate::host::privilege::cargo_for;
use crate::host::stream;

/// Where programs of containers are built: apart from those of the machine, for they are linked otherwise.
const TARGET: &str = "x86_64-unknown-linux-gnu";

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

/// The server of datagrams, linked statically: built by the person, and quickly, for it has no dependencies.
pub fn echo(person: &Person) -> Result<PathBuf> {
    let mut command = cargo_for(person);
    command.args(["rustc", "--package=lab-echo", "--bin=echo", "--release"]);
    command.args([
        "--target",
        TARGET,
        "--message-format=json-render-diagnostics",
    ]);
    command.args(["--", "-Ctarget-feature=+crt-static", "-Cstrip=symbols"]);
    command.current_dir(paths::workspace());
    let mut built = None;
    let finished = stream::run(command, |line| built = executable(line).or(built.take()));
    let finished = finished.context("run cargo rustc")?;
    if !finished.status.success() {
        bail!("echo does not compile:\n{}", finished.tail.indented(2));
    }
    built.context("cargo does not say where echo is")
}

/// Tells one source of it from another.
pub fn echo_version() -> String {
    let sum = Sha256::digest(include_str!("../../echo/src/main.rs"));
    let start = sum.first_chunk().copied().unwrap_or_default();
    format!("{:016x}", u64::from_be_bytes(start))
}

/// The program of which a line of cargo's says that it is built.
fn executable(line: &str) -> Option<PathBuf> {
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    value.get("executable")?.as_str().map(PathBuf::from)
}

/// Whether this program, and so those beside it, are as they are released.
pub fn is_release() -> bool {
    let own = std::env::current_exe().unwrap_or_default();
    profile_of(&own) == Some("release")
}

fn profile_of(own: &Path) -> Option<&str> {
    own.parent()?.file_name()?.to_str()
}
