//! Counting tests, and what came of one part of them.

use std::fmt;
use std::ops::AddAssign;

/// How many tests ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub passed: u64,
    pub failed: u64,
    pub skipped: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed = self.passed.saturating_add(other.passed);
        self.failed = self.failed.saturating_add(other.failed);
        self.skipped = self.skipped.saturating_add(other.skipped);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

/// What came of one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It ran. The text tells of failures, and is empty without any.
    Ran { tally: Tally, failures: String },
    /// It can't run here; so many tests (at least) were not run.
    Skipped { why: String, tests: u64 },
}

impl Verdict {
    /// A check that is one test.
    pub(super) fn of_one(passed: bool, failures: String) -> Self {
        let tally = Tally {
            passed: passed.into(),
            failed: (!passed).into(),
            skipped: 0,
        };
        Self::Ran {
            tally,
            failures: if passed { String::new() } else { failures },
        }
    }

    /// The part broke before it could count.
    pub(super) fn broken(error: &anyhow::Error) -> Self {
        Self::of_one(false, format!("{error:#}\n"))
    }

    /// What counts. What was asked for by name must run: then a skip is a failure.
    pub(super) fn tally(&self, by_name: bool) -> Tally {
        match self {
            Self::Ran { tally, .. } => *tally,
            Self::Skipped { tests, .. } if by_name => Tally {
                failed: (*tests).max(1),
                ..Tally::default()
            },
            Self::Skipped { tests, .. } => Tally {
                skipped: (*tests).max(1),
                ..Tally::default()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_has_exactly_this_form() {
        let mut tally = Tally {
            passed: 1,
            failed: 2,
            skipped: 3,
        };
        tally += Tally {
            passed: 10,
            failed: 0,
            skipped: 0,
        };
        assert_eq!(tally.to_string(), "11 passed, 2 failed, 3 skipped");
    }

    #[test]
    fn what_was_asked_for_by_name_and_did_not_run_is_a_failure() {
        let verdict = Verdict::Skipped {
            why: "no guest".into(),
            tests: 4,
        };
        assert_eq!(
            verdict.tally(false),
            Tally {
                skipped: 4,
                ..Tally::default()
            }
        );
        assert_eq!(
            verdict.tally(true),
            Tally {
                failed: 4,
                ..Tally::default()
            }
        );
        let unknown = Verdict::Skipped {
            why: "no guest".into(),
            tests: 0,
        };
        assert_eq!(unknown.tally(false).skipped, 1);
    }

    #[test]
    fn a_check_that_passes_says_nothing() {
        assert_eq!(
            Verdict::of_one(true, "warning".into()),
            Verdict::Ran {
                tally: Tally {
                    passed: 1,
                    ..Tally::default()
                },
                failures: String::new()
            }
        );
    }
}
