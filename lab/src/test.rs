//! `lab test`: every check there is, one stage after the other, with one number at the end.
//!
//! The stages are lint (fmt, clippy, doc, deny), unit, kernel (tests that need IPVS, inside a guest, and tests that
//! need root alone, in a network namespace) and e2e.
//! A failure is shown and the rest goes on. What can't run here is skipped with its reason, and is a failure
//! where it was asked for by name. Cargo runs as the person, whoever runs the lab. Not for what the tests
//! test, and not for booting guests: the caller brings the way into one.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;

use crate::host::paths::Person;
use crate::host::privilege::{self, Standing};
use crate::report::ui;
use crate::supply::packages::{self, Plans};

mod binaries;
mod guest;
mod libtest;
mod lint;
mod root;
mod run;
mod stories;
mod tally;
mod unit;

pub use tally::Tally;

/// Part of the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Stage {
    Lint,
    Unit,
    Kernel,
    E2e,
}

/// What a command in a guest came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// Its exit code.
    pub code: i32,
    /// What it wrote, both outputs in one.
    pub output: String,
}

/// Runs a command (program and arguments) in a guest whose kernel has IPVS, as root.
pub type InGuest<'a> = dyn Fn(&[String]) -> Result<Ran> + 'a;

/// What the stages work with.
#[expect(
    missing_debug_implementations,
    reason = "it holds the way into a guest, which has no text"
)]
pub struct Bench<'a> {
    pub person: &'a Person,
    pub cache: &'a Path,
    /// The lab's own program, for the stories. Asked for before anything is built: a build replaces it.
    pub lab: PathBuf,
    /// The way into a guest, or why there is none.
    pub guest: Result<&'a InGuest<'a>, String>,
    /// Whether stories can be told here, or why not.
    pub stories: Result<(), String>,
}

/// Whether a stage needs root.
pub fn needs_root(stage: Option<Stage>) -> bool {
    match stage {
        Some(Stage::Lint | Stage::Unit) => false,
        Some(Stage::Kernel | Stage::E2e) => true,
        // Without any way to become root the rest is still worth running.
        None => privilege::standing() != Standing::Plain,
    }
}

/// Runs one stage, or all of them in order. The last line is `N passed, N failed, N skipped`.
pub fn run(asked: Option<Stage>, bench: &Bench<'_>) -> ExitCode {
    let stages = asked.map_or_else(
        || vec![Stage::Lint, Stage::Unit, Stage::Kernel, Stage::E2e],
        |stage| vec![stage],
    );
    let mut run = run::Run::new(asked.is_some());
    for stage in stages {
        match stage {
            Stage::Lint => lint::run(bench, &mut run),
            Stage::Unit => run.part("unit", |show| unit::run(bench, show)),
            Stage::Kernel => {
                run.part("kernel", |show| {
                    install_missing(show);
                    guest::run(bench, show)
                });
                run.part("root", |show| root::run(bench, show));
            }
            Stage::E2e => run.part("e2e", |show| {
                install_missing(show);
                stories::run(bench, show)
            }),
        }
    }
    let tally = run.end();
    ui::print(&tally.to_string());
    if tally.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// What tests need and a fresh machine has not: the guest's kernel, `nft`, a registry. What does not come is found
/// missing by the test that needs it.
fn install_missing(show: &mut dyn FnMut(&str)) {
    let plans = Plans {
        boots_uml: true,
        builds_agents: false,
        runs_tests: true,
    };
    let missing = packages::packages_of(&packages::missing(plans));
    match packages::install(&missing, show) {
        Ok(came) if came.is_empty() => {}
        Ok(came) => show(&format!("installed {}", came.join(" "))),
        Err(error) => show(&format!("{error:#}")),
    }
}
