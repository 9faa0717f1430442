//! What the doctor says, and how it looks. No probing here.

use std::fmt::Write;

use serde::Serialize;

use crate::report::plain;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Ok,
    /// The lab runs, but the person should know something.
    Warn,
    /// The lab can't run like this.
    Missing,
}

/// The answer to one question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub name: &'static str,
    pub state: State,
    pub finding: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    pub fn ok(name: &'static str, finding: impl Into<String>) -> Self {
        Self {
            name,
            state: State::Ok,
            finding: finding.into(),
            remedy: None,
        }
    }

    pub fn warn(name: &'static str, finding: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            name,
            state: State::Warn,
            finding: finding.into(),
            remedy: Some(remedy.into()),
        }
    }

    pub fn missing(
        name: &'static str,
        finding: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            name,
            state: State::Missing,
            finding: finding.into(),
            remedy: Some(remedy.into()),
        }
    }
}

/// All answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether the lab can run.
    pub fn is_fit(&self) -> bool {
        self.of(State::Missing).next().is_none()
    }

    fn of(&self, state: State) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(move |finding| finding.state == state)
    }

    /// One line: `14 checks, 1 warning (packages: …)`.
    pub fn summary(&self) -> String {
        let mut text = format!("{} checks", self.findings.len());
        for (state, singular, plural) in [
            (State::Warn, "warning", "warnings"),
            (State::Missing, "problem", "problems"),
        ] {
            let names: Vec<String> = self
                .of(state)
                .map(|it| format!("{}: {}", it.name, it.finding))
                .collect();
            if !names.is_empty() {
                let word = if names.len() == 1 { singular } else { plural };
                let _ = write!(text, ", {} {word} ({})", names.len(), names.join("; "));
            }
        }
        text
    }

    /// What is in the way, each with its remedy; empty if nothing is.
    pub fn obstacles(&self) -> String {
        let line = |it: &Finding| {
            format!(
                "{}: {}\n    {}\n",
                it.name,
                it.finding,
                it.remedy.as_deref().unwrap_or("-")
            )
        };
        self.of(State::Missing).map(line).collect()
    }

    /// One line a finding, remedies below the lines that need one.
    pub fn table(&self) -> String {
        let width = self
            .findings
            .iter()
            .map(|finding| finding.name.len())
            .max()
            .unwrap_or(0);
        let mut text = String::new();
        for Finding {
            name,
            state,
            finding,
            remedy,
        } in &self.findings
        {
            let (mark, word) = match state {
                State::Ok => (console::style("✓").green(), "ok"),
                State::Warn => (console::style("!").yellow(), "warn"),
                State::Missing => (console::style("✗").red(), "missing"),
            };
            // Names of processes are in it, and who has one chooses it.
            let finding = plain::lines(finding);
            let _ = writeln!(text, " {mark} {word:7} {name:width$}  {finding}");
            if let Some(remedy) = remedy {
                let remedy = plain::lines(remedy);
                let _ = writeln!(text, "   {:7} {:width$}  → {remedy}", "", "");
            }
        }
        text
    }

    /// The same for programs.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({ "ok": self.is_fit(), "findings": self.findings })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            findings: vec![
                Finding::ok("cgroup", "version 2"),
                Finding::warn("memory", "900 MiB free", "end something"),
                Finding::missing("go", "Go is not installed", "install it"),
            ],
        }
    }

    #[test]
    fn warnings_stop_nothing_and_problems_do() {
        let mut report = report();
        assert!(!report.is_fit());
        report.findings.pop();
        assert!(report.is_fit());
        assert_eq!(report.obstacles(), "");
    }

    #[test]
    fn the_summary_counts_and_names() {
        let expected =
            "3 checks, 1 warning (memory: 900 MiB free), 1 problem (go: Go is not installed)";
        assert_eq!(report().summary(), expected);
    }

    #[test]
    fn the_table_has_a_state_word_a_finding_and_a_remedy() {
        let table = console::strip_ansi_codes(&report().table()).into_owned();
        let expected = [
            " ✓ ok      cgroup  version 2",
            " ! warn    memory  900 MiB free",
            "                   → end something",
            " ✗ missing go      Go is not installed",
            "                   → install it",
        ];
        assert_eq!(table.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn programs_get_the_same_words() {
        let json = report().json();
        assert_eq!(json["ok"], false);
        assert_eq!(
            json["findings"][0],
            serde_json::json!({"name": "cgroup", "state": "ok", "finding": "version 2"})
        );
        assert_eq!(json["findings"][2]["remedy"], "install it");
    }
}
