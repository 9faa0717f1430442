//! The Go toolchain that builds agents: found, and judged by its age.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::host::paths::Person;
use crate::host::privilege::command_for;
use crate::host::programs;
use crate::host::stream;
use crate::supply::version::Version;

/// Nomad 1.6.1 needs it; so do module graphs of its size.
const OLDEST_GO: Version = Version::new(1, 20, 0);

/// The Go to build with: on PATH, or where Go and Debian put theirs.
///
/// # Errors
/// None is there, or it is too old; with what to do.
pub fn go_toolchain(person: &Person) -> Result<(PathBuf, Version)> {
    let mut candidates: Vec<PathBuf> = programs::find("go").into_iter().collect();
    candidates.push("/usr/local/go/bin/go".into());
    let packaged = std::fs::read_dir("/usr/lib")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    candidates.extend(
        packaged
            .filter(|path| path.to_string_lossy().starts_with("/usr/lib/go-"))
            .map(|path| path.join("bin/go")),
    );
    let mut newest: Option<(PathBuf, Version)> = None;
    for path in candidates
        .into_iter()
        .filter(|path| programs::is_executable(path))
    {
        let answer = stream::answer(
            command_for(person, &path).arg("version"),
            Duration::from_secs(10),
        );
        let Some(version) = answer.as_deref().and_then(Version::find) else {
            continue;
        };
        if version >= OLDEST_GO {
            return Ok((path, version));
        }
        if newest.as_ref().is_none_or(|(_, other)| version > *other) {
            newest = Some((path, version));
        }
    }
    let remedy = format!(
        "install Go {}.{} or newer, or put nomad and consul on PATH",
        OLDEST_GO.major, OLDEST_GO.minor
    );
    match newest {
        Some((path, version)) => bail!(
            "{} is Go {version}, which is too old: {remedy}",
            path.display()
        ),
        None => bail!("Go is not installed: {remedy}"),
    }
}
