//! The shrink guard: a catalogue that suddenly lost much is not believed at once. Pure.
//!
//! A Consul that was restarted empty, an ACL token that lost its rights, a snapshot restored from last week: all of
//! them answer `200 []`, and they answer service by service. Real servers that serve, that the catalogue has no more,
//! and of which Nomad does not say that they go, are *lost*. What was let go within [`CONTRADICTION_HOLD`] counts with
//! what is lost now. If that is more than the policy's share of all that serve, or all that serve for one virtual service
//! while Nomad says that one of them runs, every lost real server is held as it is:
//!
//! - where Nomad has no opinion, until two more, independent reads of the catalogue agree that are
//!   [`CONFIRMATION_SPACING`] from each other;
//! - where Nomad contradicts (running and wanted), until Nomad agrees or [`CONTRADICTION_HOLD`] is over and the
//!   catalogue, read again, still says so. Nomad registers its services anew within 30 s;
//! - where Consul went on with another history (its index went back, or it lists nothing at all, not even itself), until
//!   they are registered again, Nomad agrees, or [`DATA_LOSS_HOLD`] is over: reading the same Consul again proves
//!   nothing then. Agents register what is theirs anew within minutes; whoever knows better sets `shrink_percent = 100`.

mod hold;
mod loss;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use ipvs::{RealServer, ServiceId, Table};

pub use hold::Hold;

use hold::hold;
use loss::{Loss, is_lost, losses};

use crate::desired::{Desired, SavedTable};
use crate::model::Moment;
use crate::model::catalog::Catalog;
use crate::model::policy::Policy;

/// How long a contradiction between Nomad and Consul is resolved in favour of what serves, and how long a loss counts.
pub const CONTRADICTION_HOLD: Duration = Duration::from_mins(2);

/// How long what a Consul that lost its data does not list is kept. An agent of a large cluster may need seven minutes to
/// register its services anew.
pub const DATA_LOSS_HOLD: Duration = Duration::from_mins(15);

/// How far apart two reads have to be that confirm a loss: a Consul that starts is not well a round trip later.
pub const CONFIRMATION_SPACING: Duration = Duration::from_secs(5);

/// What the guard remembers from one pass to the next.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Losses {
    /// What is held now, and why.
    pub hold: Option<Hold>,
    /// What was lost and let go.
    releases: BTreeMap<Key, Release>,
    /// How often Consul's history had broken off when the guard last looked.
    restarts: u64,
    /// When it broke off last, as long as that matters.
    data_lost: Option<Moment>,
}

impl Losses {
    /// Notes that the config does not have that virtual service any more: somebody wants its real servers to go.
    pub fn intend(&mut self, id: ServiceId, reals: &[RealServer], now: Moment) {
        let intended = Release {
            at: now,
            confirmed: true,
        };
        let keys = reals.iter().map(|real| (id, real.address));
        self.releases.extend(keys.map(|key| (key, intended)));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Release {
    at: Moment,
    /// It had been held before: it is not held again, even if the kernel has not removed it yet.
    confirmed: bool,
}

type Key = (ServiceId, SocketAddr);

/// What the guard looks at beside `desired`.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    pub table: &'a Table,
    pub last: &'a SavedTable,
    pub catalog: Option<&'a Catalog>,
    pub confirmations: u64,
    /// How often Consul went on with another history.
    pub restarts: u64,
}

/// How much is lost, and of how much.
#[derive(Debug, Clone, Copy)]
struct Extent {
    lost: usize,
    serving: usize,
    contradicted: bool,
    data_lost: Option<Moment>,
}

/// Puts what is held back into `desired`; gives what to remember.
pub fn guard(
    desired: &mut Desired,
    evidence: &Evidence<'_>,
    policy: &Policy,
    before: &Losses,
    now: Moment,
) -> Losses {
    let mut releases = before.releases.clone();
    let data_lost = if evidence.restarts > before.restarts {
        Some(now)
    } else {
        // A clock that was set back must not prolong it.
        before.data_lost.map(|at| at.min(now))
    };
    let data_lost = data_lost.filter(|at| now.since(*at) < DATA_LOSS_HOLD);
    let restarts = evidence.restarts.max(before.restarts);
    if !desired.complete {
        return Losses {
            hold: None,
            releases,
            restarts,
            data_lost,
        };
    }
    releases.retain(|(id, address), entry| {
        entry.at = entry.at.min(now);
        now.since(entry.at) < CONTRADICTION_HOLD && is_lost(desired, id, *address)
    });
    let (mut lost, serving) = losses(desired, evidence, policy);
    lost.retain(|loss| !releases.get(&loss.key()).is_some_and(|gone| gone.confirmed));
    let extent = extent(&lost, &releases, serving, evidence.table, data_lost);
    // Of lost data some come back before others: what is left is as lost as all of it was.
    let goes_on = data_lost.is_some() && before.hold.is_some();
    let suspect = extent
        .filter(|extent| goes_on || is_suspect(extent, &lost, &releases, evidence.table, policy));
    let hold =
        suspect.and_then(|extent| hold(extent, before.hold.as_ref(), evidence.confirmations, now));
    for loss in lost {
        if hold.is_some() {
            loss.keep(desired, evidence.last, policy);
        } else {
            let confirmed = suspect.is_some();
            releases
                .entry(loss.key())
                .or_insert(Release { at: now, confirmed })
                .confirmed |= confirmed;
        }
    }
    Losses {
        hold,
        releases,
        restarts,
        data_lost,
    }
}

/// Counts what is lost now and was let go, of what serves and did serve; `None` if nothing is lost now.
fn extent(
    lost: &[Loss],
    releases: &BTreeMap<Key, Release>,
    serving: usize,
    table: &Table,
    data_lost: Option<Moment>,
) -> Option<Extent> {
    let gone = releases.keys().filter(|key| !serves(table, key)).count();
    let again = lost
        .iter()
        .filter(|lost| releases.contains_key(&lost.key()));
    (!lost.is_empty()).then(|| Extent {
        lost: lost.len() + releases.len() - again.count(),
        serving: serving + gone,
        contradicted: lost.iter().any(|lost| lost.phase.is_some()),
        data_lost,
    })
}

/// Whether so much is lost that it is not believed: of all, or of one virtual service of which Nomad says that it runs.
fn is_suspect(
    extent: &Extent,
    lost: &[Loss],
    releases: &BTreeMap<Key, Release>,
    table: &Table,
    policy: &Policy,
) -> bool {
    if extent.lost * 100 > extent.serving * usize::from(policy.shrink_percent) {
        return true;
    }
    let running = lost.iter().filter(|lost| lost.phase.is_some());
    let mut services: Vec<ServiceId> = running.map(|lost| lost.id).collect();
    services.dedup();
    services.iter().any(|id| {
        let is_lost = |address: SocketAddr| {
            releases.contains_key(&(*id, address))
                || lost
                    .iter()
                    .any(|lost| lost.id == *id && lost.real.address == address)
        };
        let reals = table.get(id).map(ipvs::VirtualService::reals);
        let mut serving = reals
            .unwrap_or_default()
            .iter()
            .filter(|real| real.weight.serves());
        serving.all(|real| is_lost(real.address))
    })
}

fn serves(table: &Table, (id, address): &Key) -> bool {
    table
        .get(id)
        .and_then(|service| service.real(*address))
        .is_some_and(|real| real.weight.serves())
}

#[cfg(test)]
mod tests;
