//! `lab bench`: the figures of docs/MEASURED.md, again, on a lab that is up.
//!
//! Each figure stands beside its peer from the same run, since a machine's own speed is nobody's merit.

use std::fmt;
use std::sync::Arc;

use anyhow::Result;

use super::Experiment;
use crate::report::ui::{self, Mode, Ui};
use crate::supply::products;
use crate::world::context::Lab;
use crate::world::topology::Nodes;

mod capture;
mod exit;
mod hostile;
mod lag;
mod large;
mod lost;
mod memory;
mod overflow;
mod recover;
mod scale;
mod sleepers;
mod stats;
mod vip;

pub use exit::watch as watch_exits;
pub use lag::watch;
pub use scale::watch as watch_scale;

/// A figure to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Figure {
    /// Requests through the VIP, beside the same rules set by hand.
    Vip,
    /// The plugin's memory with 1 and with 20 tasks.
    Memory,
    /// From Consul's answer to the programmed kernel, seen by a second reader.
    Lag,
    /// Large answers by masquerade and by direct routing, beside the server itself.
    Large,
    /// From a process's end to its real server's, beside Consul's and Nomad's word.
    Exit,
    /// Requests lost while instances come and go, beside the same through Traefik (built the first time, which takes
    /// minutes).
    Lost,
    /// How soon a plugin that was killed has its tasks again.
    Recover,
    /// What statistics of idle tasks cost, beside Nomad's own driver.
    Stats,
    /// How latency, memory and processor time grow with the number of services, up to ten thousand.
    Scale,
    /// How old a quiet task's log is beside hostile ones, and how large the plugin.
    Hostile,
}

impl Figure {
    fn experiment(self) -> &'static dyn Experiment {
        match self {
            Self::Vip => &vip::Vip,
            Self::Memory => &memory::Memory,
            Self::Lag => &lag::Lag,
            Self::Large => &large::Large,
            Self::Exit => &exit::Exit,
            Self::Lost => &lost::Lost,
            Self::Recover => &recover::Recover,
            Self::Stats => &stats::Stats,
            Self::Scale => &scale::Scale,
            Self::Hostile => &hostile::Hostile,
        }
    }
}

/// Takes one figure and shows what came of it. A goal that is missed is a line and no failure: a figure says nothing of a
/// machine that is busy.
pub fn run(lab: Lab, figure: Figure) -> Result<()> {
    if !products::is_release() {
        ui::complain(
            "these programs are not optimized: for figures, `cargo lab-release up` and then `cargo lab-release bench`",
        );
    }
    let experiment = figure.experiment();
    ui::print(experiment.hypothesis());
    if experiment.nodes() == Nodes::Two && lab.topology.nodes() == Nodes::One {
        ui::complain("a part of it needs a second node: `cargo lab up --nodes 2`");
    }
    let outcome = experiment.run(&Arc::new(lab), &Ui::new(Mode::choose(false)))?;
    for line in &outcome.lines {
        ui::print(line);
    }
    for measurement in &outcome.measurements {
        ui::print(&measurement.to_string());
    }
    Ok(())
}

/// Milliseconds of one thing that happened again and again.
#[derive(Debug, Clone, PartialEq)]
struct Series {
    name: &'static str,
    /// From the least to the most.
    millis: Vec<f64>,
}

impl Series {
    fn new(name: &'static str, mut millis: Vec<f64>) -> Self {
        millis.sort_by(f64::total_cmp);
        Self { name, millis }
    }

    /// The value below which a share of the samples lies; no number where there is none.
    fn quantile(&self, share: f64) -> f64 {
        if self.millis.is_empty() {
            return f64::NAN;
        }
        let last = self.millis.len() - 1;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index"
        )]
        let index = (last as f64 * share).ceil() as usize;
        self.millis[index.min(last)]
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: n={}, median {:.3} ms, p99 {:.3} ms, max {:.3} ms",
            self.name,
            self.millis.len(),
            self.quantile(0.5),
            self.quantile(0.99),
            self.quantile(1.0)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Series;

    #[test]
    fn quantiles_of_a_hundred_samples_are_where_one_expects_them() {
        let samples = Series::new("x", (1..=100).rev().map(f64::from).collect());
        assert!((samples.quantile(0.5) - 51.0).abs() < 1.0);
        assert!((samples.quantile(0.99) - 100.0).abs() < 1.5);
        assert!(Series::new("x", Vec::new()).quantile(0.5).is_nan());
    }
}
