//! Tests that need IPVS: ordinary test binaries, run inside a guest whose kernel has it.
//!
//! They are integration tests named `kernel…`, every test of them ignored, so that plain `cargo test` passes
//! on any machine.

use super::binaries::{self, Binary};
use super::libtest::Reader;
use super::tally::Verdict;
use super::unit::failure_text;
use super::{Bench, InGuest};
use crate::host::stream::Tail;

const PREFIX: &str = "kernel";

/// Whether this stage runs a binary, given as cargo announces it: `tests/kernel.rs (…)`.
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
    match &bench.guest {
        Ok(guest) => run_in(guest, &binaries, show),
        Err(why) => Verdict::Skipped {
            why: why.clone(),
            tests: binaries.iter().map(|binary| count(binary, "")).sum(),
        },
    }
}

fn run_in(guest: &InGuest<'_>, binaries: &[Binary], show: &mut dyn FnMut(&str)) -> Verdict {
    let mut reader = Reader::default();
    let mut tail = Tail::default();
    let mut success = true;
    for binary in binaries {
        let program = binary.path.display().to_string();
        reader.open(&program);
        let command = [
            program,
            "--ignored".to_owned(),
            "--test-threads=1".to_owned(),
        ];
        let mut hear = |line: &str| {
            reader.line(line);
            tail.push(line);
            show(line);
        };
        match guest(&command) {
            Ok(ran) => {
                ran.output.lines().for_each(&mut hear);
                success &= ran.code == 0;
            }
            Err(error) => {
                hear(&format!("the guest: {error:#}"));
                success = false;
            }
        }
    }
    let reading = reader.end(success);
    let failures = if reading.tally.failed > 0 {
        failure_text(&reading, &tail)
    } else {
        String::new()
    };
    Verdict::Ran {
        tally: reading.tally,
        failures,
    }
}

/// How many ignored tests a binary has whose name has that in it. Listing them needs no privilege.
pub(super) fn count(binary: &Binary, filter: &str) -> u64 {
    let output = std::process::Command::new(&binary.path)
        .args(["--list", "--ignored", filter])
        .output();
    output.map_or(0, |output| listed(&String::from_utf8_lossy(&output.stdout)))
}

fn listed(text: &str) -> u64 {
    text.lines()
        .filter(|line| line.ends_with(": test"))
        .map(|_| 1)
        .sum()
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::super::Ran;
    use super::super::tally::Tally;
    use super::*;

    fn binaries() -> Vec<Binary> {
        ["kernel", "kernel_director"]
            .map(|name| Binary {
                name: name.into(),
                path: format!("/t/{name}").into(),
                folder: "/w".into(),
            })
            .to_vec()
    }

    fn tally(verdict: &Verdict) -> Tally {
        verdict.tally(false)
    }

    #[test]
    fn each_binary_runs_its_ignored_tests_one_by_one() {
        let guest = |command: &[String]| {
            assert_eq!(command[1..], ["--ignored", "--test-threads=1"]);
            Ok(Ran {
                code: 0,
                output: "test a ... ok\ntest result: ok. 1 passed; 0 failed; 0 ignored\n".into(),
            })
        };
        assert_eq!(
            tally(&run_in(&guest, &binaries(), &mut |_| {})),
            Tally {
                passed: 2,
                ..Tally::default()
            }
        );
    }

    #[test]
    fn a_guest_that_breaks_down_fails_the_binary_and_the_next_one_still_runs() {
        let guest = |command: &[String]| {
            if command[0] == "/t/kernel" {
                bail!("it panicked");
            }
            Ok(Ran {
                code: 0,
                output: "test result: ok. 3 passed; 0 failed; 0 ignored\n".into(),
            })
        };
        let verdict = run_in(&guest, &binaries(), &mut |_| {});
        assert_eq!(
            tally(&verdict),
            Tally {
                passed: 3,
                failed: 1,
                skipped: 0
            }
        );
        let Verdict::Ran { failures, .. } = verdict else {
            panic!("it ran")
        };
        assert!(
            failures.starts_with("  /t/kernel broke down\n    the guest: it panicked\n"),
            "{failures}"
        );
    }

    #[test]
    fn tests_are_counted_in_a_list() {
        assert_eq!(
            listed("a::b: test\nc: test\nd: benchmark\n\n2 tests, 1 benchmark\n"),
            2
        );
    }

    #[test]
    fn the_stage_knows_its_binaries_by_name() {
        assert!(
            runs("tests/kernel.rs (t/deps/kernel-1)") && runs("tests/kernel_director.rs (t/x)")
        );
        assert!(
            !runs("tests/docker.rs (t/deps/docker-1)") && !runs("unittests src/kernel.rs (t/x)")
        );
    }
}
