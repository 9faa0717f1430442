//! `lab chaos`: everything that holds the path up may die, hang or be cut off, and afterwards all is as it should be.
//!
//! ```text
//! seed ─▶ episode ─▶ run: load ─ faults and change ─ mend ─ agree ─ rest ─▶ verdict ─▶ report
//!          (pure)     (fault, job, observe)                                  (pure)
//! ```
//! An operator's hand is among the faults: what it changes in the director's kernel nobody but the syncer puts right.
//!
//! An episode that failed is replayed from its seed: the same faults, at the same times, from the same beginning. How the
//! parts' own work falls between them is theirs, and so is what an earlier episode has left in a kernel's memory: one that
//! doesn't fail again alone is tried after the few that came before it. It runs on a profile of its own and leaves it up.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, ensure};

use crate::experiment::{Experiment, Measurement, Outcome};
use crate::part::nomad::Driver;
use crate::report::ui::{self, Mode, Ui};
use crate::supply::nftables;
use crate::world::context::Lab;
use crate::{doctor, up};

use episode::Episode;
use report::{Ended, Totals};

mod episode;
mod fault;
mod foreign;
mod job;
mod keep;
mod meddle;
mod observe;
mod report;
mod run;
mod verdict;

/// The profile, if the person names none.
pub const PROFILE: &str = "chaos";

/// Episodes in a row that could not be lived through, after which more are no use.
const BROKEN: usize = 3;

/// What the person asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    pub episodes: usize,
    /// Of the first episode, and by it of all.
    pub seed: u64,
}

/// A seed for somebody who has none.
pub fn any_seed() -> u64 {
    u64::from(fastrand::u32(..))
}

/// Brings the lab up where it isn't, and lives through all episodes. Exit code 1 when one of them failed.
pub fn run(lab: Lab, ui: &Ui, wish: Wish) -> Result<ExitCode> {
    ensure!(
        nftables::works(),
        "chaos needs nftables: without it a restart of the engine costs requests that nobody could help"
    );
    let install = doctor::Installing::Allowed;
    up::run(
        &lab,
        ui,
        up::Wish {
            install,
            job: true,
            driver: Driver::Ours,
        },
    )?;
    ui.say(wish.hypothesis());
    ui.say(&format!("seed {}", wish.seed));
    let lab = Arc::new(lab);
    let outcome = wish.run(&lab, ui)?;
    for line in &outcome.lines {
        ui.say(line);
    }
    let profile = lab.topology.profile();
    let kept = if outcome.holds() {
        ""
    } else {
        ", which takes along what was kept of the failed ones"
    };
    ui.say(&format!(
        "The lab of profile {profile} stays up: cargo lab --profile {profile} status · cargo lab --profile {profile} down{kept}"
    ));
    Ok(if outcome.holds() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

impl Experiment for Wish {
    fn hypothesis(&self) -> &'static str {
        "whatever dies, hangs, is cut off or is changed by hand: afterwards all views agree, and nothing is lost that was not in its way"
    }

    fn run(&self, lab: &Arc<Lab>, ui: &Ui) -> Result<Outcome> {
        let mut totals = Totals::default();
        let mut broken = 0;
        for (number, seed) in episode::seeds(self.seed).take(self.episodes).enumerate() {
            let ended = live(lab, ui, number, seed);
            broken = if ended.error.is_some() { broken + 1 } else { 0 };
            totals.add(ended);
            if broken == BROKEN {
                ui.say("the last episodes could not be lived through: no more of them");
                break;
            }
        }
        ui.object(&totals.json());
        let failed = u32::try_from(totals.failed().len()).map(f64::from)?;
        Ok(Outcome {
            lines: vec![totals.text()],
            measurements: vec![Measurement::at_most(0.0, "episodes", "failed", failed)],
        })
    }
}

fn live(lab: &Arc<Lab>, ui: &Ui, number: usize, seed: u64) -> Ended {
    let episode = Episode::of(seed, lab.kernel.choice());
    let mut step = ui.step(&(number + 1).to_string());
    let ended = match run::live(lab, &episode, &mut step) {
        Ok(account) => {
            let mut ended = Ended::of(&episode, &account);
            if !ended.is_good() {
                let kept =
                    account
                        .diary
                        .keep(lab, &episode, &account.evidence, &account.violations);
                ended.folder = Some(kept.map_or_else(
                    |error| format!("nothing: {error:#}"),
                    |folder| folder.display().to_string(),
                ));
            }
            ended
        }
        Err(error) => {
            // The next one begins with a lab that is as whole as it can be made.
            let _ = run::mend(lab);
            Ended::broken(&episode, &error)
        }
    };
    if ui.mode() == Mode::Json {
        ui.object(&ended.json());
    } else {
        let outcome = if ended.is_good() {
            ui::Outcome::Ok
        } else {
            ui::Outcome::Failed
        };
        step.end(outcome, &ended.line());
    }
    ended
}
