//! What was seen in an episode against what must hold. Pure.
//!
//! [`differences`] compares the three views at one moment, row by row of the rule that makes them one; [`judge`] looks at
//! the whole episode. A task that runs before and is neither stopped nor replaced on request must run on untouched, and
//! be sent to all the time; what a fault may cost is requests that were in its way, nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use super::episode::Episode;
use super::observe::{Sample, Task};
use super::{foreign, job, meddle};
use crate::observe::status::View;

/// How soon all views must agree once all parts are well.
const AGREEMENT_GOAL: Duration = Duration::from_secs(5);

/// How soon the director's syncer finds what was changed behind its back: its `audit_interval` as it comes, and reading the
/// kernel may take a hundredth of a second in a guest.
const AUDIT: Duration = Duration::from_secs(4);

/// The same, for an episode.
pub(super) fn goal(episode: &Episode) -> Duration {
    if episode.is_meddled_with() {
        AUDIT + AGREEMENT_GOAL
    } else {
        AGREEMENT_GOAL
    }
}

/// One address on which the views differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Difference {
    pub(super) address: SocketAddr,
    pub(super) what: What,
}

/// In which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    /// Runs, and the catalogue has it not.
    LostRegistration,
    /// Runs, and its checks don't pass.
    NotPassing,
    /// Runs and is registered, and nothing is sent to it.
    Unserved,
    /// Registered, and it doesn't run.
    StaleRegistration,
    /// In the kernel, and it doesn't run.
    StaleRealServer,
    /// Not running yet or about to stop, and sent to.
    ServedTooLong,
    /// A VIP with somebody to send to, through which no connection comes about.
    Silent,
}

/// How long all views took to agree.
#[derive(Debug, Clone, Default)]
pub(super) struct Agreement {
    /// From when all parts were well; none when it never came.
    pub(super) took: Option<Duration>,
    /// What was still open at its [`goal`].
    pub(super) open: Vec<String>,
}

/// All that was seen.
#[derive(Debug, Clone)]
pub(super) struct Evidence {
    pub(super) before: Vec<Task>,
    pub(super) after: Vec<Task>,
    pub(super) samples: Vec<Sample>,
    /// Why the parts could not be mended.
    pub(super) unmended: Option<String>,
    pub(super) agreement: Agreement,
    /// Why the job doesn't come to rest.
    pub(super) unrest: Option<String>,
    pub(super) foreign_missing: Vec<String>,
    pub(super) asked: u64,
    pub(super) lost: u64,
    /// Of the first failure.
    pub(super) loss: Option<String>,
    /// Of the last failure after all views had agreed.
    pub(super) late_loss: Option<String>,
}

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Violation {
    NotMended(String),
    NeverAgreed(Vec<String>),
    AgreedLate {
        seconds: f64,
        goal: u64,
        open: Vec<String>,
    },
    NoRest(String),
    TaskRestarted {
        alloc: String,
        how: String,
    },
    Removed {
        address: SocketAddr,
        at: f64,
        weight: Option<u32>,
    },
    ForeignGone(String),
    LostRequests {
        lost: u64,
        asked: u64,
        first: String,
    },
    LostAfterAgreement(String),
}

/// Where the views differ, or why that can't be told.
pub(super) fn differences(view: &View) -> Result<Vec<Difference>, String> {
    let allocations = view.allocations.as_ref().map_err(Clone::clone)?;
    let instances = view.instances.as_ref().map_err(Clone::clone)?;
    let kernel = view.kernel.as_ref().map_err(Clone::clone)?;
    view.data_plane.as_ref().map_err(Clone::clone)?;
    let mut reals: BTreeMap<SocketAddr, Vec<u32>> = BTreeMap::new();
    for real in kernel.values().flatten() {
        if !foreign::is_foreign(&real.vip) {
            reals.entry(real.address).or_default().push(real.weight);
        }
    }
    let addresses: BTreeSet<SocketAddr> = allocations
        .keys()
        .chain(instances.keys())
        .chain(reals.keys())
        .copied()
        .collect();
    let at = |address: SocketAddr| {
        let here = instances.get(&address).map_or(&[][..], Vec::as_slice);
        // Other services may have no VIP at all.
        let ours = here.iter().find(|it| it.service == job::SERVICE);
        let health = ours.or(here.first()).map(|it| it.health.as_str());
        let balanced = here.is_empty() || ours.is_some();
        let states = allocations.get(&address).into_iter().flatten();
        let state = states
            .map(|allocation| allocation.state.as_str())
            .max_by_key(|state| *state == "running");
        // Behind each VIP by itself; nowhere is one more case.
        let weights = reals.get(&address).map_or(&[][..], Vec::as_slice);
        let weights: Vec<Option<u32>> = if weights.is_empty() {
            vec![None]
        } else {
            weights.iter().copied().map(Some).collect()
        };
        let found: Vec<Difference> = weights
            .into_iter()
            // Nothing new goes to a stranger of weight 0; what it has open may end in its own time.
            .filter(|weight| *weight != Some(0) || !meddle::is_stranger(&address))
            .filter_map(|weight| difference(state, health, weight, balanced))
            .map(|what| Difference { address, what })
            .collect();
        found
    };
    let silent = view.silent().into_iter().filter_map(|(vip, _)| {
        let (_, address) = vip.split_once("://")?;
        let address = address.parse().ok()?;
        Some(Difference {
            address,
            what: What::Silent,
        })
    });
    Ok(addresses.into_iter().flat_map(at).chain(silent).collect())
}

fn difference(
    state: Option<&str>,
    health: Option<&str>,
    weight: Option<u32>,
    balanced: bool,
) -> Option<What> {
    let serves = weight.is_some_and(|weight| weight > 0);
    match (state, health) {
        (Some("running"), None) => Some(What::LostRegistration),
        (Some("running"), Some("passing")) => (balanced && !serves).then_some(What::Unserved),
        (Some("running"), Some(_)) => Some(What::NotPassing),
        (Some("pending") | None, Some(_)) => Some(What::StaleRegistration),
        // What is about to stop may still be registered, and drain.
        (Some(_), _) => serves.then_some(What::ServedTooLong),
        (None, None) => weight.is_some().then_some(What::StaleRealServer),
    }
}

/// Everything that must not be.
pub(super) fn judge(episode: &Episode, evidence: &Evidence) -> Vec<Violation> {
    let mut violations = Vec::new();
    violations.extend(evidence.unmended.clone().map(Violation::NotMended));
    let open = evidence.agreement.open.clone();
    match evidence.agreement.took {
        None if evidence.unmended.is_none() => violations.push(Violation::NeverAgreed(open)),
        Some(took) if took > goal(episode) => violations.push(Violation::AgreedLate {
            seconds: took.as_secs_f64(),
            goal: goal(episode).as_secs(),
            open,
        }),
        _ => {}
    }
    violations.extend(evidence.unrest.clone().map(Violation::NoRest));
    violations.extend(restarted(episode, evidence));
    violations.extend(removed(episode, evidence));
    if !episode.ends_director() {
        violations.extend(
            evidence
                .foreign_missing
                .iter()
                .cloned()
                .map(Violation::ForeignGone),
        );
    }
    if evidence.lost > 0 && !episode.hits_data_path() && episode.change.is_none() {
        violations.push(Violation::LostRequests {
            lost: evidence.lost,
            asked: evidence.asked,
            first: evidence.loss.clone().unwrap_or_default(),
        });
    }
    violations.extend(
        evidence
            .late_loss
            .clone()
            .map(Violation::LostAfterAgreement),
    );
    violations
}

/// Tasks that ran before and don't run on, beyond those that the change takes away.
fn restarted(episode: &Episode, evidence: &Evidence) -> Vec<Violation> {
    let mut allowed = episode.replaced();
    let mut violations = Vec::new();
    for before in evidence.before.iter().filter(|task| task.is_running()) {
        let after = evidence
            .after
            .iter()
            .find(|task| task.alloc == before.alloc);
        let how = match after {
            Some(after) if after.is_running() && after.started == before.started => continue,
            Some(after) if after.is_running() => format!(
                "restarted {} times, now running since {}",
                after.restarts - before.restarts.min(after.restarts),
                after.started
            ),
            Some(after) if after.desired != "run" && allowed > 0 => {
                allowed -= 1;
                continue;
            }
            Some(after) => format!("wanted {}, is {}", after.desired, after.client),
            None => "Nomad has forgotten it".to_owned(),
        };
        violations.push(Violation::TaskRestarted {
            alloc: before.alloc.clone(),
            how,
        });
    }
    violations
}

/// Moments at which a task that ran all the time was not sent to.
fn removed(episode: &Episode, evidence: &Evidence) -> Vec<Violation> {
    if episode.ends_director() {
        return Vec::new();
    }
    let stayed = evidence.before.iter().filter(|before| {
        before.is_running()
            && evidence.after.iter().any(|after| {
                after.is_running()
                    && (&after.alloc, &after.started) == (&before.alloc, &before.started)
            })
    });
    let first_gap = |address: SocketAddr| {
        evidence.samples.iter().find_map(|sample| {
            let weight = sample.weights.get(&address).copied();
            (weight.unwrap_or(0) == 0).then_some(Violation::Removed {
                address,
                at: sample.at,
                weight,
            })
        })
    };
    stayed
        .filter_map(|task| task.address)
        .filter_map(first_gap)
        .collect()
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            What::LostRegistration => "runs, the catalogue doesn't have it",
            What::NotPassing => "runs, its checks don't pass",
            What::Unserved => "runs and passes, nothing is sent to it",
            What::StaleRegistration => "registered, doesn't run",
            What::StaleRealServer => "real server, doesn't run",
            What::ServedTooLong => "not running, sent to",
            What::Silent => "no connection comes about",
        };
        write!(f, "{}: {what}", self.address)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotMended(why) => write!(f, "not mended: {why}"),
            Self::NeverAgreed(open) => write!(f, "the views never agreed: {}", open.join(", ")),
            Self::AgreedLate {
                seconds,
                goal,
                open,
            } => write!(
                f,
                "the views agreed after {seconds:.1} s; open at {goal} s: {}",
                open.join(", ")
            ),
            Self::NoRest(why) => write!(f, "the job doesn't come to rest: {why}"),
            Self::TaskRestarted { alloc, how } => write!(f, "task of {alloc}: {how}"),
            Self::Removed {
                address,
                at,
                weight,
            } => match weight {
                Some(_) => write!(f, "{address} had weight 0 at {at:.1} s though its task ran"),
                None => write!(
                    f,
                    "{address} was not in the table at {at:.1} s though its task ran"
                ),
            },
            Self::ForeignGone(what) => write!(f, "a foreign rule is gone: {what}"),
            Self::LostRequests { lost, asked, first } => {
                write!(
                    f,
                    "{lost} of {asked} requests lost though nothing in their way was hit; first {first}"
                )
            }
            Self::LostAfterAgreement(last) => {
                write!(
                    f,
                    "requests were lost after all views had agreed; last {last}"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests;
