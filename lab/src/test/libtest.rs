//! Reads what Rust's test harness prints, run by cargo or alone.
//!
//! Each test binary announces itself (`Running …`, `Doc-tests …`), names its tests, and ends with one line of
//! counts. A binary that announced itself and never came to that line broke down, which counts as a failure.

use super::tally::Tally;

/// How much of what a failed test wrote is shown again at the end.
const LINES: usize = 20;

/// Counts so far.
#[derive(Debug, Default)]
pub(super) struct Reader {
    tally: Tally,
    /// The binary that has not told its counts yet.
    open: Option<String>,
    /// Tests that failed, and binaries that broke down.
    failures: Vec<String>,
    /// Lines of the failure that is being told, and how many of them more are kept.
    telling: Option<usize>,
    report: Vec<String>,
    /// Tests that were left out, by the binary they are in.
    ignored: Vec<Ignored>,
}

/// Tests that a binary left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ignored {
    /// As cargo announces it: `tests/kernel.rs (target/debug/deps/kernel-0a1b2c)`.
    pub(super) binary: String,
    pub(super) tests: u64,
}

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// Ignored tests are not in it.
    pub(super) tally: Tally,
    pub(super) failures: Vec<String>,
    /// What those tests wrote, as far as the harness shows it.
    pub(super) report: Vec<String>,
    pub(super) ignored: Vec<Ignored>,
}

impl Reader {
    /// Opens a binary that no cargo announces.
    pub(super) fn open(&mut self, binary: &str) {
        self.close();
        self.open = Some(binary.to_owned());
    }

    pub(super) fn line(&mut self, line: &str) {
        let text = line.trim();
        if let Some(name) = text
            .strip_prefix("Running ")
            .or_else(|| text.strip_prefix("Doc-tests "))
        {
            self.open(name);
        } else if let Some(counts) = text.strip_prefix("test result: ") {
            self.result(counts);
        } else if let Some(test) = text
            .strip_prefix("test ")
            .and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            self.failures.push(test.to_owned());
        }
        self.listen(line);
    }

    /// Between `---- NAME stdout ----` and the list of names stands what a failed test wrote.
    fn listen(&mut self, line: &str) {
        if line.starts_with("---- ") && line.ends_with(" ----") {
            self.telling = Some(LINES);
        } else if line == "failures:" {
            self.telling = None;
        }
        if let Some(left) = self.telling {
            self.report.push(line.to_owned());
            self.telling = left.checked_sub(1);
        }
    }

    fn result(&mut self, counts: &str) {
        let count = |word: &str| {
            let part = counts
                .split([';', '.'])
                .find_map(|part| part.trim().strip_suffix(word));
            part.and_then(|number| number.trim().parse::<u64>().ok())
                .unwrap_or(0)
        };
        self.tally += Tally {
            passed: count(" passed"),
            failed: count(" failed"),
            skipped: 0,
        };
        let binary = self.open.take().unwrap_or_default();
        let tests = count(" ignored");
        if tests > 0 {
            self.ignored.push(Ignored { binary, tests });
        }
    }

    /// The binary that is open broke down.
    fn close(&mut self) {
        if let Some(binary) = self.open.take() {
            self.tally.failed += 1;
            self.failures.push(format!("{binary} broke down"));
        }
    }

    /// The end of the output. `success` is what the exit code says: it has the last word.
    pub(super) fn end(mut self, success: bool) -> Reading {
        if success {
            // A binary with a harness of its own tells no counts.
            self.open = None;
        } else {
            self.close();
        }
        if !success && self.tally.failed == 0 {
            self.tally.failed = 1;
        }
        Reading {
            tally: self.tally,
            failures: self.failures,
            report: self.report,
            ignored: self.ignored,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, success: bool) -> Reading {
        let mut reader = Reader::default();
        text.lines().for_each(|line| reader.line(line));
        reader.end(success)
    }

    fn tally(passed: u64, failed: u64) -> Tally {
        Tally {
            passed,
            failed,
            skipped: 0,
        }
    }

    const GOOD: &str = "\
     Running unittests src/lib.rs (target/debug/deps/ipvs-1)
running 2 tests
test wire::a ... ok
test wire::b ... ok
test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
     Running tests/kernel.rs (target/debug/deps/kernel-2)
test result: ok. 1 passed; 0 failed; 7 ignored; 0 measured; 0 filtered out; finished in 0.00s
   Doc-tests ipvs
test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s
";

    #[test]
    fn the_counts_of_all_binaries_are_added() {
        let reading = read(GOOD, true);
        assert_eq!(reading.tally, tally(6, 0));
        assert_eq!(reading.failures, Vec::<String>::new());
        let binary = "tests/kernel.rs (target/debug/deps/kernel-2)".to_owned();
        assert_eq!(reading.ignored, [Ignored { binary, tests: 7 }]);
    }

    #[test]
    fn failed_tests_are_named() {
        let text = "Running x\ntest a::b ... FAILED\ntest c ... ok\ntest result: FAILED. 1 passed; 1 failed; 0 ignored";
        assert_eq!(
            read(text, false),
            Reading {
                tally: tally(1, 1),
                failures: vec!["a::b".into()],
                report: vec![],
                ignored: vec![]
            }
        );
    }

    #[test]
    fn what_a_failed_test_wrote_is_kept_up_to_a_point() {
        let long = "backtrace\n".repeat(100);
        let text = format!(
            "failures:\n\n---- a::b stdout ----\npanicked\n{long}\n---- c stdout ----\nno\n\nfailures:\n    a::b\n"
        );
        let report = read(&text, false).report;
        assert_eq!(report[..2], ["---- a::b stdout ----", "panicked"]);
        assert_eq!(report[LINES + 1..], ["---- c stdout ----", "no", ""]);
    }

    #[test]
    fn a_binary_that_ends_without_counts_broke_down() {
        let text = format!("Running first (t/first-1)\ntest a ... {GOOD}");
        assert_eq!(read(&text, false).tally, tally(6, 1));
        let reading = read("Running last (t/last-1)\ntest a ... ", false);
        assert_eq!(
            (reading.tally, reading.failures),
            (tally(0, 1), vec!["last (t/last-1) broke down".to_owned()])
        );
    }

    #[test]
    fn an_exit_code_that_tells_of_failure_is_one_even_without_any_test() {
        assert_eq!(
            read("error[E0308]: mismatched types", false).tally,
            tally(0, 1)
        );
        assert_eq!(read("", true).tally, tally(0, 0));
        assert_eq!(read("Running own harness\nfine", true).tally, tally(0, 0));
    }
}
