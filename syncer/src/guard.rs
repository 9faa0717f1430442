//! The shrink guard: a catalogue that suddenly lost much is not believed at once. Pure.
//!
//! A Consul that was restarted empty, an ACL token that lost its rights, a snapshot restored from last week: all of
//! them answer `200 []`. Real servers that serve, that the catalogue has no more, and of which Nomad does not say that
//! they go, are *lost*. If more than the policy's share of all serving ones is lost, every lost one is held as it is:
//!
//! - where Nomad has no opinion, until a second, independent read of the catalogue agrees;
//! - where Nomad contradicts (running and wanted), until Nomad agrees or [`PATIENCE`] is over and the catalogue, read
//!   again, still says so. Nomad registers its services anew within 30 s.

use std::sync::Arc;
use std::time::Duration;

use ipvs::{Forwarding, RealServer, ServiceId, ServiceSettings, Table};

use crate::desired::{Declared, Desired, DesiredService, Endpoint, SavedService, Want};
use crate::model::Moment;
use crate::model::fleet::Phase;
use crate::model::policy::Policy;

/// How long a contradiction between Nomad and Consul is resolved in favour of what serves.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// A catalogue that is not believed for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    pub since: Moment,
    /// Confirming reads that had been made when it began.
    pub confirmations: u64,
    pub lost: usize,
    pub serving: usize,
    /// Some of them are running and wanted, says Nomad.
    pub contradicted: bool,
}

/// What the guard looks at beside `desired`.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    pub table: &'a Table,
    pub last: &'a [SavedService],
    pub confirmations: u64,
}

struct Lost {
    id: ServiceId,
    settings: ServiceSettings,
    real: RealServer,
    phase: Option<Phase>,
}

/// Puts what is held back into `desired`; says whether and why.
pub fn guard(
    desired: &mut Desired,
    evidence: &Evidence<'_>,
    policy: &Policy,
    before: Option<&Hold>,
    now: Moment,
) -> Option<Hold> {
    if !desired.complete {
        return None;
    }
    let (lost, serving) = losses(desired, evidence.table, policy);
    if lost.is_empty() || lost.len() * 100 <= serving * usize::from(policy.shrink_percent) {
        return None;
    }
    let contradicted = lost.iter().any(|lost| lost.phase.is_some());
    // A clock that was set back must not prolong it.
    let (since, confirmations) = before.map_or((now, evidence.confirmations), |before| {
        (before.since.min(now), before.confirmations)
    });
    let confirmed = evidence.confirmations > confirmations;
    if confirmed && (!contradicted || now.since(since) >= PATIENCE) {
        return None;
    }
    let hold = Hold {
        since,
        confirmations,
        lost: lost.len(),
        serving,
        contradicted,
    };
    for one in lost {
        keep(desired, &one, evidence.last, policy);
    }
    Some(hold)
}

/// Serving real servers that the catalogue lost without Nomad's consent, and how many serve in all.
fn losses(desired: &Desired, table: &Table, policy: &Policy) -> (Vec<Lost>, usize) {
    let mut lost = Vec::new();
    let mut serving = 0;
    for (id, service) in table.iter().filter(|(id, _)| policy.ownership.owns(id)) {
        let endpoints = desired
            .services
            .get(id)
            .map(|service| service.endpoints.as_slice())
            .unwrap_or_default();
        let mut endpoints = endpoints.iter().peekable();
        for real in service.reals().iter().filter(|real| real.weight.serves()) {
            serving += 1;
            while endpoints
                .next_if(|endpoint| endpoint.address < real.address)
                .is_some()
            {}
            if endpoints
                .peek()
                .is_some_and(|endpoint| endpoint.address == real.address)
            {
                continue;
            }
            let (want, phase) = desired.fate(real.address);
            if want == Want::Drain && matches!(phase, None | Some(Phase::Running)) {
                lost.push(Lost {
                    id: *id,
                    settings: service.settings,
                    real: *real,
                    phase,
                });
            }
        }
    }
    (lost, serving)
}

fn keep(desired: &mut Desired, lost: &Lost, last: &[SavedService], policy: &Policy) {
    let service = desired.services.entry(lost.id).or_insert_with(|| {
        let saved = last.iter().find(|saved| saved.id == lost.id);
        DesiredService {
            name: saved.map_or_else(
                || Arc::from(lost.id.to_string()),
                |saved| Arc::clone(&saved.name),
            ),
            settings: lost.settings,
            forwarding: saved.map_or(Forwarding::Masquerade, |saved| saved.forwarding),
            snat: saved.is_some_and(|saved| saved.snat),
            drain: policy.drain,
            declared: Declared::Disk,
            endpoints: Vec::new(),
        }
    });
    let endpoint = Endpoint {
        address: lost.real.address,
        want: Want::Keep,
        phase: lost.phase,
        health: None,
        alloc: None,
        held: true,
    };
    let at = service
        .endpoints
        .partition_point(|there| there.address < endpoint.address);
    service.endpoints.insert(at, endpoint);
}
