//! What is tried in a lab because its outcome is not known: faults under load ([`mod@chaos`]) and figures ([`mod@bench`]).
//!
//! Each is an [`Experiment`]: a hypothesis, the nodes that it needs, and a run that gives an [`Outcome`]. Showing it is for whoever
//! asked.

pub mod bench;
pub mod chaos;

use std::fmt;
use std::sync::Arc;

use anyhow::Result;

use crate::report::ui::Ui;
use crate::world::context::Lab;
use crate::world::topology::Nodes;

/// A question to a lab.
pub trait Experiment {
    /// What is believed, in a sentence that an outcome can contradict.
    fn hypothesis(&self) -> &'static str;

    /// The nodes without which a part of it can't be tried.
    fn nodes(&self) -> Nodes {
        Nodes::One
    }

    /// Tries it on a lab that is up, and leaves the lab as it was.
    ///
    /// # Errors
    /// It could not be tried; nothing is known of the hypothesis then.
    fn run(&self, lab: &Arc<Lab>, ui: &Ui) -> Result<Outcome>;
}

/// What came of an experiment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// What was seen, in order.
    pub lines: Vec<String>,
    /// What the hypothesis stands or falls with.
    pub measurements: Vec<Measurement>,
}

/// A value, and the most that it may be.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    pub what: String,
    pub value: f64,
    pub unit: &'static str,
    pub goal: f64,
}

impl Outcome {
    /// Nothing that was measured is beyond its goal.
    pub fn holds(&self) -> bool {
        self.measurements.iter().all(Measurement::holds)
    }
}

impl Extend<Self> for Outcome {
    fn extend<I: IntoIterator<Item = Self>>(&mut self, more: I) {
        for outcome in more {
            self.lines.extend(outcome.lines);
            self.measurements.extend(outcome.measurements);
        }
    }
}

impl Measurement {
    pub fn at_most(goal: f64, unit: &'static str, what: impl Into<String>, value: f64) -> Self {
        let what = what.into();
        Self {
            what,
            value,
            unit,
            goal,
        }
    }

    /// What is no number is beyond any goal.
    pub fn holds(&self) -> bool {
        self.value <= self.goal
    }
}

impl fmt::Display for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            value,
            unit,
            goal,
        } = self;
        let word = if self.holds() { "holds" } else { "missed" };
        write!(f, "{word}: {what} {value:.3} {unit}, goal ≤ {goal} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hypothesis_holds_as_long_as_nothing_is_beyond_its_goal() {
        let measured = |value| Measurement::at_most(5.0, "ms", "p99", value);
        let outcome = |values: &[f64]| Outcome {
            lines: Vec::new(),
            measurements: values.iter().copied().map(measured).collect(),
        };
        assert!(outcome(&[]).holds() && outcome(&[4.0, 5.0]).holds());
        assert!(!outcome(&[4.0, 5.1]).holds());
        assert!(!outcome(&[f64::NAN]).holds());
        assert_eq!(
            measured(5.1).to_string(),
            "missed: p99 5.100 ms, goal ≤ 5 ms"
        );
        assert_eq!(
            measured(2.0).to_string(),
            "holds: p99 2.000 ms, goal ≤ 5 ms"
        );
    }
}
