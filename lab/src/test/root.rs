//! Tests that need root and no IPVS: ordinary test binaries, run on this machine in a network namespace of their own.
//!
//! They are integration tests named `root…`, every test of them ignored, so that plain `cargo test` passes
//! for any person. Those of a module `nftables` need the program and a kernel that takes its rules, besides.

use std::process::Command;

use nix::unistd::Uid;

use super::Bench;
use super::binaries::{self, Binary};
use super::guest::count;
use super::libtest::Reader;
use super::tally::Verdict;
use super::unit::failure_text;
use crate::host::stream::{self, Tail};
use crate::supply::nftables;

const PREFIX: &str = "root";

/// The module of tests that need nf_tables.
const NFTABLES: &str = "nftables::";

/// Whether this stage runs a binary, given as cargo announces it: `tests/root.rs (…)`.
pub(super) fn runs(announced: &str) -> bool {
    announced
        .strip_prefix("tests/")
        .is_some_and(|rest| rest.starts_with(PREFIX))
}

pub(super) fn run(bench: &Bench<'_>, show: &mut dyn FnMut(&str)) -> Verdict {
    let binaries = match binaries::build(bench, show) {
        Ok(all) => all
            .into_iter()
            .filter(|binary| binary.name.starts_with(PREFIX))
            .collect::<Vec<_>>(),
        Err(error) => return Verdict::broken(&error),
    };
    if !Uid::effective().is_root() {
        return Verdict::Skipped {
            why: "these tests need root".to_owned(),
            tests: binaries.iter().map(|binary| count(binary, "")).sum(),
        };
    }
    let without = (!nftables::works()).then_some(NFTABLES);
    run_all(&binaries, without, show)
}

/// Runs all but the tests whose name has `without` in it.
fn run_all(binaries: &[Binary], without: Option<&str>, show: &mut dyn FnMut(&str)) -> Verdict {
    let mut reader = Reader::default();
    let mut tail = Tail::default();
    let mut success = true;
    let mut skipped = 0_u64;
    for binary in binaries {
        reader.open(&binary.path.display().to_string());
        let mut command = Command::new("unshare");
        command
            .args(["--net", "--"])
            .arg(&binary.path)
            .args(["--ignored", "--test-threads=1"])
            .current_dir(&binary.folder);
        if let Some(without) = without {
            let left_out = count(binary, without);
            skipped = skipped.saturating_add(left_out);
            show(&format!(
                "{left_out} tests skipped: nft can't make a table here (package nftables, nf_tables in the kernel)"
            ));
            command.args(["--skip", without]);
        }
        let finished = stream::run(command, |line| {
            reader.line(line);
            tail.push(line);
            show(line);
        });
        success &= finished.is_ok_and(|end| end.status.success());
    }
    let reading = reader.end(success);
    let mut tally = reading.tally;
    tally.skipped = skipped;
    let failures = if tally.failed > 0 {
        failure_text(&reading, &tail)
    } else {
        String::new()
    };
    Verdict::Ran { tally, failures }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stage_knows_its_binaries_by_name() {
        assert!(runs("tests/root/main.rs (t/deps/root-1)") && runs("tests/root_more.rs (t/x)"));
        assert!(!runs("tests/kernel.rs (t/deps/kernel-1)") && !runs("unittests src/root.rs (t/x)"));
    }
}
