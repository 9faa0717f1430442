//! `lab bench`: the figures of docs/MEASURED.md, again, on a lab that is up.
//!
//! Each figure stands beside its peer from the same run, since a machine's own speed is nobody's merit.

use anyhow::Result;

use crate::report::ui;
use crate::supply::products;
use crate::world::context::Lab;

mod capture;
mod exit;
mod hostile;
mod lag;
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

/// Takes one figure and prints its lines.
pub fn run(lab: &Lab, figure: Figure) -> Result<()> {
    if !products::is_release() {
        ui::complain(
            "these programs are not optimized: for figures, `cargo lab-release up` and then `cargo lab-release bench`",
        );
    }
    let lines = match figure {
        Figure::Vip => vip::measure(lab)?,
        Figure::Memory => memory::measure(lab)?,
        Figure::Lag => lag::measure(lab)?,
        Figure::Exit => exit::measure(lab)?,
        Figure::Lost => lost::measure(lab)?,
        Figure::Recover => recover::measure(lab)?,
        Figure::Stats => stats::measure(lab)?,
        Figure::Scale => scale::measure(lab)?,
        Figure::Hostile => hostile::measure(lab)?,
    };
    for line in lines {
        ui::print(&line);
    }
    Ok(())
}

/// The value below which a share of the sorted samples lies.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    if sorted.is_empty() {
        return f64::NAN;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index"
    )]
    let index = ((sorted.len() - 1) as f64 * share).ceil() as usize;
    sorted[index.min(sorted.len() - 1)]
}

/// `name: n=…, median …, p99 …, max … ms`.
fn line(name: &str, mut millis: Vec<f64>) -> String {
    millis.sort_by(f64::total_cmp);
    let at = |share| quantile(&millis, share);
    format!(
        "{name}: n={}, median {:.3} ms, p99 {:.3} ms, max {:.3} ms",
        millis.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    )
}

#[cfg(test)]
mod tests {
    use super::quantile;

    #[test]
    fn quantiles_of_a_hundred_samples_are_where_one_expects_them() {
        let samples: Vec<f64> = (1..=100).map(f64::from).collect();
        assert!((quantile(&samples, 0.5) - 51.0).abs() < 1.0);
        assert!((quantile(&samples, 0.99) - 100.0).abs() < 1.5);
        assert!(quantile(&[], 0.5).is_nan());
    }
}
