//! The parts of the lab, one file each: is it there, else bring it up; what it answers.
//!
//! A part knows how to start and how to tell that it is ready. The order among parts is [`crate::up`]'s.

pub mod answer;
pub mod consul;
pub mod docker;
pub mod image;
mod iptables;
pub mod job;
pub mod nomad;
pub mod outlet;
mod service;
pub mod syncer;

use crate::report::ui::Outcome;

/// How a part came to be up, and what there is to say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Up {
    pub outcome: Outcome,
    pub finding: String,
}

impl Up {
    pub fn now(finding: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Ok,
            finding: finding.into(),
        }
    }

    /// Of several parts together: nothing was to be done where none of them needed anything.
    pub fn of_all(parts: &[Self], finding: impl Into<String>) -> Self {
        if parts.iter().all(|part| part.outcome == Outcome::Already) {
            Self::already(finding)
        } else {
            Self::now(finding)
        }
    }

    pub fn already(finding: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Already,
            finding: finding.into(),
        }
    }
}
