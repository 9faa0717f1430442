//! Checks of the source: each is one test.

use std::ffi::OsString;
use std::process::Command;

use super::Bench;
use super::run::Run;
use super::tally::Verdict;
use crate::host::paths::workspace;
use crate::host::privilege::{cargo_for, command_for};
use crate::host::stream;
use crate::supply::tools;

pub(super) fn run(bench: &Bench<'_>, run: &mut Run) {
    run.part("fmt", |show| {
        check(
            cargo(
                bench,
                &["fmt", "--all", "--check", "--", "--color", "never"],
            ),
            show,
        )
    });
    let clippy = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    run.part("clippy", |show| check(cargo(bench, &clippy), show));
    run.part("doc", |show| {
        let mut doc = cargo(bench, &["doc", "--workspace", "--no-deps"]);
        doc.env("RUSTDOCFLAGS", "-D warnings");
        check(doc, show)
    });
    run.part("unused", |show| unused(bench, show));
    run.part("deny", |show| deny(bench, show));
}

fn cargo(bench: &Bench<'_>, arguments: &[&str]) -> Command {
    let mut command = cargo_for(bench.person);
    command.args(arguments).current_dir(workspace());
    command
}

/// Dependencies that nothing uses.
fn unused(bench: &Bench<'_>, show: &mut dyn FnMut(&str)) -> Verdict {
    with_tool(tools::MACHETE, bench, show, |machete| {
        machete.args(["--with-metadata", "--skip-target-dir", "."]);
    })
}

/// Licences, sources and bans of everything that is linked. Not advisories: they need a database from afar.
fn deny(bench: &Bench<'_>, show: &mut dyn FnMut(&str)) -> Verdict {
    with_tool(tools::DENY, bench, show, |deny| {
        deny.args([
            "--log-level",
            "warn",
            "check",
            "bans",
            "licenses",
            "sources",
        ]);
    })
}

fn with_tool(
    tool: tools::Tool,
    bench: &Bench<'_>,
    show: &mut dyn FnMut(&str),
    arguments: impl FnOnce(&mut Command),
) -> Verdict {
    let program = match tool.ensure(bench.person, bench.cache, show) {
        Ok(program) => program,
        Err(error) => {
            return Verdict::Skipped {
                why: format!("{error:#}"),
                tests: 1,
            };
        }
    };
    // It asks cargo for the packages, and sudo's PATH may lead to none.
    let cargo: OsString = cargo_for(bench.person).get_program().to_owned();
    let mut command = command_for(bench.person, program);
    arguments(&mut command);
    command.env("CARGO", cargo).current_dir(workspace());
    check(command, show)
}

fn check(command: Command, show: &mut dyn FnMut(&str)) -> Verdict {
    match stream::run(command, show) {
        Ok(end) => Verdict::of_one(end.status.success(), end.tail.indented(2)),
        Err(error) => Verdict::broken(&error.into()),
    }
}
