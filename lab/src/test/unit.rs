//! Tests that any machine can run: all packages but the stories.

use super::Bench;
use super::libtest::{Reader, Reading};
use super::tally::Verdict;
use crate::host::paths::workspace;
use crate::host::privilege::cargo_for;
use crate::host::stream::{self, Tail};

/// Tests at a time. Many wait for what a daemon does, and use no processor meanwhile.
const THREADS: &str = "8";

pub(super) fn run(bench: &Bench<'_>, show: &mut dyn FnMut(&str)) -> Verdict {
    let mut command = cargo_for(bench.person);
    command
        .args(["test", "--workspace", "--exclude", "e2e", "--no-fail-fast"])
        .env("RUST_TEST_THREADS", THREADS)
        .current_dir(workspace());
    let mut reader = Reader::default();
    let finished = stream::run(command, |line| {
        reader.line(line);
        show(line);
    });
    match finished {
        Ok(end) => verdict(&reader.end(end.status.success()), &end.tail),
        Err(error) => Verdict::broken(&error.into()),
    }
}

/// Ignored tests that the kernel's or the stories' stage runs are run there; any others are skipped by everybody, and count.
fn verdict(reading: &Reading, tail: &Tail) -> Verdict {
    let mut tally = reading.tally;
    let left_out = reading
        .ignored
        .iter()
        .filter(|ignored| !super::guest::runs(&ignored.binary))
        .filter(|ignored| !super::root::runs(&ignored.binary))
        .filter(|ignored| !super::stories::runs(&ignored.binary));
    tally.skipped = left_out.map(|ignored| ignored.tests).sum();
    let failures = if tally.failed > 0 {
        failure_text(reading, tail)
    } else {
        String::new()
    };
    Verdict::Ran { tally, failures }
}

/// Names of what failed, what those tests wrote, and the end of the output where that says nothing.
pub(super) fn failure_text(reading: &Reading, tail: &Tail) -> String {
    let names = reading.failures.iter().map(|name| format!("  {name}\n"));
    let lines = reading.report.iter().map(|line| format!("    {line}\n"));
    let text: String = names.chain(lines).collect();
    if reading.report.is_empty() {
        text + &tail.indented(4)
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::super::libtest::Ignored;
    use super::super::tally::Tally;
    use super::*;

    #[test]
    fn ignored_tests_count_as_skipped_unless_another_stage_runs_them() {
        let ignored = |binary: &str| Ignored {
            binary: binary.into(),
            tests: 2,
        };
        let reading = Reading {
            tally: Tally {
                passed: 5,
                ..Tally::default()
            },
            failures: Vec::new(),
            report: Vec::new(),
            ignored: vec![
                ignored("tests/kernel.rs (t/deps/kernel-1)"),
                ignored("tests/root/main.rs (t/deps/root-1)"),
                ignored("tests/docker.rs (t/deps/docker-1)"),
            ],
        };
        let expected = Tally {
            passed: 5,
            failed: 0,
            skipped: 2,
        };
        assert_eq!(
            verdict(&reading, &Tail::default()),
            Verdict::Ran {
                tally: expected,
                failures: String::new()
            }
        );
    }

    #[test]
    fn what_failed_is_told_by_the_tests_and_else_by_the_end_of_the_output() {
        let mut tail = Tail::default();
        tail.push("error: 1 target failed");
        let mut reading = Reading {
            tally: Tally::default(),
            failures: vec!["a::b".into()],
            report: vec![],
            ignored: vec![],
        };
        assert_eq!(
            failure_text(&reading, &tail),
            "  a::b\n    error: 1 target failed\n"
        );
        reading.report.push("panicked".into());
        assert_eq!(failure_text(&reading, &tail), "  a::b\n    panicked\n");
    }
}
