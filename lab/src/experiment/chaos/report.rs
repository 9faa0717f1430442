//! What the person reads: one line an episode, totals at the end.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::episode::Episode;
use super::run::Account;
use super::verdict::Violation;

/// How an episode ended, for line and totals.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    pub(super) episode: Episode,
    pub(super) asked: u64,
    pub(super) lost: u64,
    pub(super) mending: Duration,
    pub(super) agreed: Option<Duration>,
    pub(super) violations: Vec<Violation>,
    /// Why it could not be lived through.
    pub(super) error: Option<String>,
    /// What was kept of a failed one.
    pub(super) folder: Option<String>,
}

/// All episodes so far.
#[derive(Debug, Default)]
pub(super) struct Totals(Vec<Ended>);

impl Ended {
    pub(super) fn of(episode: &Episode, account: &Account) -> Self {
        Self {
            episode: episode.clone(),
            asked: account.evidence.asked,
            lost: account.evidence.lost,
            mending: account.mending,
            agreed: account.evidence.agreement.took,
            violations: account.violations.clone(),
            error: None,
            folder: None,
        }
    }

    pub(super) fn broken(episode: &Episode, error: &anyhow::Error) -> Self {
        Self {
            episode: episode.clone(),
            asked: 0,
            lost: 0,
            mending: Duration::ZERO,
            agreed: None,
            violations: Vec::new(),
            error: Some(format!("{error:#}")),
            folder: None,
        }
    }

    pub(super) fn is_good(&self) -> bool {
        self.violations.is_empty() && self.error.is_none()
    }

    /// One line, and one more for each violation.
    pub(super) fn line(&self) -> String {
        let agreed = self.agreed.map_or("never".to_owned(), seconds);
        let mut line = format!(
            "seed {}  {}  lost {} of {}, mended {}, agreed {agreed}",
            self.episode.seed,
            self.episode,
            self.lost,
            self.asked,
            seconds(self.mending),
        );
        for violation in &self.violations {
            let _ = write!(line, "\n     {violation}");
        }
        if let Some(error) = &self.error {
            let _ = write!(line, "\n     could not be lived through: {error}");
        }
        if let Some(folder) = &self.folder {
            let _ = write!(line, "\n     kept in {folder}");
        }
        line
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "seed": self.episode.seed, "what": self.episode.to_string(), "episode": self.episode,
            "asked": self.asked, "lost": self.lost, "mended_s": self.mending.as_secs_f64(),
            "agreed_s": self.agreed.map(|agreed| agreed.as_secs_f64()), "violations": self.violations,
            "error": self.error, "folder": self.folder, "good": self.is_good(),
        })
    }
}

impl Totals {
    pub(super) fn add(&mut self, ended: Ended) {
        self.0.push(ended);
    }

    /// The table of totals, as text.
    pub(super) fn text(&self) -> String {
        let mut text = format!("{} episodes\n", self.0.len());
        for (fault, count) in self.faults() {
            let _ = writeln!(text, "  {count:>4} × {fault}");
        }
        for (name, [episodes, asked, lost]) in self.requests() {
            let _ = writeln!(
                text,
                "  requests, {name}: {lost} lost of {asked} in {episodes} episodes"
            );
        }
        if let Some((median, most)) = self.agreement() {
            let _ = writeln!(
                text,
                "  agreement after mending: median {}, most {}",
                seconds(median),
                seconds(most)
            );
        }
        let failed = self.failed();
        if failed.is_empty() {
            text.push_str("  no violation");
        } else {
            let _ = write!(text, "  failed: {} of {}", failed.len(), self.0.len());
            for seed in failed {
                let _ = write!(
                    text,
                    "\n    again: cargo lab chaos --episodes 1 --seed {seed}"
                );
            }
        }
        text
    }

    pub(super) fn json(&self) -> Value {
        let requests: BTreeMap<&str, Value> = self
            .requests()
            .into_iter()
            .map(|(name, [episodes, asked, lost])| {
                (
                    name,
                    json!({ "episodes": episodes, "asked": asked, "lost": lost }),
                )
            })
            .collect();
        let agreement = self.agreement();
        json!({
            "episodes": self.0.len(), "faults": self.faults(), "requests": requests,
            "agreed_median_s": agreement.map(|(median, _)| median.as_secs_f64()),
            "agreed_most_s": agreement.map(|(_, most)| most.as_secs_f64()),
            "failed_seeds": self.failed(),
        })
    }

    fn faults(&self) -> BTreeMap<String, usize> {
        let mut count = BTreeMap::new();
        for fault in self.0.iter().flat_map(|ended| &ended.episode.faults) {
            *count
                .entry(format!("{} {}", fault.kind, fault.part))
                .or_default() += 1;
        }
        for ended in &self.0 {
            if let Some(timed) = &ended.episode.change {
                *count.entry(timed.change.to_string()).or_default() += 1;
            }
        }
        count
    }

    /// Episodes, requests asked and requests lost, by what stood in the requests' way.
    fn requests(&self) -> BTreeMap<&'static str, [u64; 3]> {
        let mut sums = BTreeMap::<&'static str, [u64; 3]>::new();
        for ended in &self.0 {
            let episode = &ended.episode;
            let class = match (episode.hits_data_path(), episode.change.is_some()) {
                (true, _) => "data path hit",
                (false, true) => "data path whole, job changed meanwhile",
                (false, false) => "data path whole",
            };
            let sum = sums.entry(class).or_default();
            for (total, value) in sum.iter_mut().zip([1, ended.asked, ended.lost]) {
                *total += value;
            }
        }
        sums
    }

    /// Median and most.
    fn agreement(&self) -> Option<(Duration, Duration)> {
        let mut all: Vec<Duration> = self.0.iter().filter_map(|ended| ended.agreed).collect();
        all.sort();
        Some((*all.get(all.len() / 2)?, *all.last()?))
    }

    /// Seeds of those that failed.
    pub(super) fn failed(&self) -> Vec<u64> {
        let failed = self.0.iter().filter(|ended| !ended.is_good());
        failed.map(|ended| ended.episode.seed).collect()
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
