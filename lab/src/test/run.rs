//! One run of the checks on the screen: each part's name, its output as it comes, what came of it.

use std::time::Instant;

use super::tally::{Tally, Verdict};
use crate::report::ui;

/// Parts so far.
#[derive(Debug)]
pub(super) struct Run {
    by_name: bool,
    tally: Tally,
    /// Names of parts that failed, and what they said.
    failures: Vec<(String, String)>,
}

impl Run {
    /// `by_name`: the person asked for exactly this, so nothing may be skipped.
    pub(super) fn new(by_name: bool) -> Self {
        Self {
            by_name,
            tally: Tally::default(),
            failures: Vec::new(),
        }
    }

    /// Does one part; what it hands to its argument is shown at once.
    pub(super) fn part(&mut self, name: &str, work: impl FnOnce(&mut dyn FnMut(&str)) -> Verdict) {
        ui::print(&format!(" · {name}"));
        let started = Instant::now();
        let verdict = work(&mut |line| ui::print(&format!("   {line}")));
        let tally = verdict.tally(self.by_name);
        let seconds = started.elapsed().as_secs_f64();
        ui::print(&result_line(name, &verdict, tally, seconds));
        self.tally += tally;
        if tally.failed > 0 {
            let text = match verdict {
                Verdict::Ran { failures, .. } => failures,
                Verdict::Skipped { why, .. } => format!("could not run: {why}\n"),
            };
            self.failures.push((name.to_owned(), text));
        }
    }

    /// Shows every failure again, where the person looks last.
    pub(super) fn end(self) -> Tally {
        for (name, text) in &self.failures {
            ui::print(&format!("\n✗ {name}"));
            ui::print(text.trim_end());
        }
        if !self.failures.is_empty() {
            ui::print("");
        }
        self.tally
    }
}

fn result_line(name: &str, verdict: &Verdict, tally: Tally, seconds: f64) -> String {
    let mark = if tally.failed > 0 {
        "✗"
    } else if tally.passed == 0 && tally.skipped > 0 {
        "-"
    } else {
        "✓"
    };
    let what = match verdict {
        Verdict::Skipped { why, .. } => format!("skipped: {why}"),
        Verdict::Ran { .. } => tally.to_string(),
    };
    format!(" {mark} {name:8} {what}  {seconds:.1} s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_ends_with_what_came_of_it() {
        let passed = Verdict::of_one(true, String::new());
        assert_eq!(
            result_line("fmt", &passed, passed.tally(false), 1.25),
            " ✓ fmt      1 passed, 0 failed, 0 skipped  1.2 s"
        );
        let skipped = Verdict::Skipped {
            why: "no guest".into(),
            tests: 2,
        };
        assert_eq!(
            result_line("kernel", &skipped, skipped.tally(false), 0.0),
            " - kernel   skipped: no guest  0.0 s"
        );
        assert_eq!(
            result_line("kernel", &skipped, skipped.tally(true), 0.0),
            " ✗ kernel   skipped: no guest  0.0 s"
        );
    }

    #[test]
    fn a_run_counts_all_its_parts() {
        let mut run = Run::new(false);
        run.part("one", |_| Verdict::of_one(true, String::new()));
        run.part("two", |show| {
            show("a line");
            Verdict::of_one(false, "why\n".into())
        });
        run.part("three", |_| Verdict::Skipped {
            why: "no guest".into(),
            tests: 3,
        });
        assert_eq!(
            run.end(),
            Tally {
                passed: 1,
                failed: 1,
                skipped: 3
            }
        );
    }
}
