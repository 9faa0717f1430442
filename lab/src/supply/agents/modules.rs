//! An agent from its source, as the Go module proxy serves it.
//!
//! `go install module@version` refuses modules with replace directives, so a small module of our own
//! requires the agent, repeats the replacements that matter, and builds the agent's main package. Its
//! `go.sum` starts as a copy of the agent's: a few old modules are missing from the public checksum
//! database, and the copied sums make the look-up unnecessary. Not for choosing this way: that is
//! [`super::ensure`].

use std::cell::Cell;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::go::go_toolchain;
use super::recipe::Recipe;
use super::{Agent, settle};
use crate::host::paths::Person;
use crate::host::privilege::command_for;
use crate::host::stream;
use crate::supply::version::Version;

/// How often a long build says how far it is.
const PACE: Duration = Duration::from_secs(10);

/// Builds the agent into the cache, as the person.
pub(super) fn build(
    agent: Agent,
    person: &Person,
    agents: &Path,
    note: &dyn Fn(&str),
) -> Result<()> {
    let (go, _) = go_toolchain(person)?;
    let recipe = agent.recipe();
    let folder = agents.join("build").join(agent.folder());
    person.make_dir(&folder)?;
    let build = Build {
        agent,
        recipe,
        person,
        go,
        folder,
        note,
        shown: Cell::new(None),
    };
    build.write_module()?;
    build.copy_sums()?;
    build.tidy()?;
    let part = agents.join(format!("{}.part", agent.folder()));
    build.compile(&part)?;
    let answer = stream::answer(
        command_for(person, &part).arg("version"),
        Duration::from_secs(20),
    );
    if answer.as_deref().and_then(Version::find) != Some(agent.version()) {
        bail!(
            "{} was built, but does not say that it is {}",
            part.display(),
            agent.version()
        );
    }
    settle(agent, person, agents, &part)?;
    // The log of a build that went well is of no use to anybody.
    let _ = std::fs::remove_dir_all(&build.folder);
    let _ = std::fs::remove_dir(agents.join("build"));
    Ok(())
}

/// One build under way.
struct Build<'a> {
    agent: Agent,
    recipe: Recipe,
    person: &'a Person,
    go: PathBuf,
    folder: PathBuf,
    note: &'a dyn Fn(&str),
    /// When it last said how far it is.
    shown: Cell<Option<Instant>>,
}

impl Build<'_> {
    fn write_module(&self) -> Result<()> {
        let Recipe {
            package,
            go,
            requirements,
            ..
        } = &self.recipe;
        let own = format!(
            "module agents.invalid/{}\n\ngo {go}\n\n{requirements}",
            self.agent.name()
        );
        self.person.write(&self.folder.join("go.mod"), &own)?;
        // Behind a tag that nobody sets: it keeps tidy from dropping the requirement, and is never compiled.
        let keep = format!("//go:build keep\n\npackage keep\n\nimport _ \"{package}\"\n");
        self.person.write(&self.folder.join("keep.go"), &keep)
    }

    fn copy_sums(&self) -> Result<()> {
        (self.note)("fetching its source");
        let wanted = format!("{}@v{}", self.recipe.module, self.agent.version());
        let output = self
            .command(&["mod", "download", "-json", &wanted])
            .output()
            .context("run go")?;
        let sums = source_folder(&output.stdout)
            .map_err(|error| {
                anyhow::anyhow!(
                    "fetch {wanted}: {error} {}",
                    String::from_utf8_lossy(&output.stderr).trim()
                )
            })?
            .join("go.sum");
        let text =
            std::fs::read_to_string(&sums).with_context(|| format!("read {}", sums.display()))?;
        self.person.write(&self.folder.join("go.sum"), &text)
    }

    fn tidy(&self) -> Result<()> {
        let mut modules = 0;
        self.go(&["mod", "tidy"], |line| {
            modules += usize::from(line.starts_with("go: downloading "));
            self.pace(|| format!("fetching what it is made of: {modules} modules"));
        })
    }

    fn compile(&self, part: &Path) -> Result<()> {
        let listed = self
            .command(&["list", "-deps", self.recipe.package])
            .output()
            .context("run go")?;
        let total = String::from_utf8_lossy(&listed.stdout).lines().count();
        let part = part.to_str().context("the cache's path is not text")?;
        let started = Instant::now();
        let mut done = 0;
        (self.note)(&format!("compiling {total} packages"));
        // Only Traefik has to be told its version; what a program hasn't is passed over.
        let flags = format!(
            "-ldflags=-s -w -X {}/pkg/version.Version={}",
            self.recipe.module,
            self.agent.version()
        );
        let arguments = [
            "build",
            "-v",
            "-trimpath",
            &flags,
            "-o",
            part,
            self.recipe.package,
        ];
        self.go(&arguments, |line| {
            done += usize::from(!line.starts_with("go: "));
            self.pace(|| {
                format!(
                    "compiling, {done} of {total} packages, {} s",
                    started.elapsed().as_secs()
                )
            });
        })
    }

    fn pace(&self, text: impl FnOnce() -> String) {
        if self.shown.get().is_none_or(|at| at.elapsed() >= PACE) {
            self.shown.set(Some(Instant::now()));
            (self.note)(&text());
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command_for(self.person, &self.go);
        command.args(arguments).current_dir(&self.folder);
        command
            .env("GOFLAGS", "-mod=mod -buildvcs=false")
            .env("GOWORK", "off")
            .env("CGO_ENABLED", self.recipe.cgo);
        command.env_remove("GOOS").env_remove("GOARCH");
        command
    }

    fn go(&self, arguments: &[&str], mut each: impl FnMut(&str)) -> Result<()> {
        let path = self.folder.join("build.log");
        let mut log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("open {}", path.display()))?;
        self.person.give(&path)?;
        let finished = stream::run(self.command(arguments), |line| {
            let _ = writeln!(log, "{line}");
            each(line);
        })
        .with_context(|| format!("run {}", self.go.display()))?;
        if !finished.status.success() {
            let words: Vec<&str> = arguments.iter().take(2).copied().collect();
            bail!(
                "go {} failed; all of it is in {}:\n{}",
                words.join(" "),
                path.display(),
                finished.tail.indented(4)
            );
        }
        Ok(())
    }
}

/// Where `go mod download -json` put a module's source.
fn source_folder(json: &[u8]) -> Result<PathBuf, String> {
    let value: serde_json::Value =
        serde_json::from_slice(json).map_err(|_| "go said nothing useful.".to_owned())?;
    if let Some(error) = value["Error"].as_str() {
        return Err(error.to_owned());
    }
    value["Dir"]
        .as_str()
        .map(PathBuf::from)
        .ok_or_else(|| "go did not say where it is.".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_is_where_go_says_and_its_error_is_passed_on() {
        let answer = br#"{"Path": "m", "Version": "v1.6.1", "Dir": "/go/pkg/mod/m@v1.6.1"}"#;
        assert_eq!(
            source_folder(answer).unwrap(),
            Path::new("/go/pkg/mod/m@v1.6.1")
        );
        let refused = br#"{"Path": "m", "Error": "m@v1.6.1: not found"}"#;
        assert_eq!(source_folder(refused).unwrap_err(), "m@v1.6.1: not found");
        assert!(source_folder(b"").is_err() && source_folder(b"{}").is_err());
    }
}
