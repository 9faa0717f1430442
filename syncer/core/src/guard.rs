//! The shrink guard: a catalogue that suddenly lost much is not believed at once. Pure.
//!
//! A Consul that was restarted empty, an ACL token that lost its rights, a snapshot restored from last week: all of
//! them answer `200 []`, and they answer service by service. Real servers that serve, that the catalogue has no more,
//! and of which Nomad does not say that they go, are *lost*. What was let go within [`PATIENCE`] counts with what is
//! lost now. If that is more than the policy's share of all that serve, or all that serve for one virtual service while
//! Nomad says that one of them runs, every lost one is held as it is:
//!
//! - where Nomad has no opinion, until two more, independent reads of the catalogue agree, [`APART`] from each other;
//! - where Nomad contradicts (running and wanted), until Nomad agrees or [`PATIENCE`] is over and the catalogue, read
//!   again, still says so. Nomad registers its services anew within 30 s;
//! - where Consul went on with another history (its index went back, or it lists nothing at all, not even itself), until
//!   they are registered again, Nomad agrees, or [`DATA_LOSS_PATIENCE`] is over: reading the same Consul again proves
//!   nothing then. Agents register what is theirs anew within minutes; whoever knows better sets `shrink_percent = 100`.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipvs::{Forwarding, RealServer, ServiceId, ServiceSettings, Table};

use crate::desired::{Declared, Desired, DesiredService, Endpoint, Saved, Want};
use crate::model::catalog::Catalog;
use crate::model::fleet::Phase;
use crate::model::policy::{Policy, Rejected};
use crate::model::{AllocId, Moment};

/// How long a contradiction between Nomad and Consul is resolved in favour of what serves, and how long a loss counts.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// How long what a Consul that lost its data does not list is kept. An agent of a large cluster may need seven minutes to
/// register its services anew.
pub const DATA_LOSS_PATIENCE: Duration = Duration::from_mins(15);

/// How far apart two reads have to be that confirm a loss: a Consul that starts is not well a round trip later.
pub const APART: Duration = Duration::from_secs(5);

/// How many reads confirm a loss.
const READS: u32 = 2;

/// A catalogue that is not believed for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    pub since: Moment,
    pub lost: usize,
    pub serving: usize,
    /// Some of them are running and wanted, says Nomad.
    pub contradicted: bool,
    /// Consul lost its data, or got other data: when that was seen.
    pub data_lost: Option<Moment>,
    confirmed: Confirmed,
}

impl Hold {
    /// Whether as many reads agree as are asked for; what it waits for is time, or Nomad.
    pub fn is_confirmed(&self) -> bool {
        self.confirmed.reads >= READS
    }

    /// In words, with what would end it.
    pub fn reason(&self, now: Moment) -> String {
        let Self { lost, serving, .. } = self;
        let lost = format!("the catalogue lost {lost} of {serving} serving real servers at once");
        let nomad = if self.contradicted {
            ", and Nomad says that they run"
        } else {
            ""
        };
        match self.data_lost {
            None => format!("{lost}{nomad}; they are kept until two more reads agree"),
            Some(at) => {
                let left = DATA_LOSS_PATIENCE.saturating_sub(now.since(at)).as_secs();
                format!(
                    "{lost}{nomad}, and Consul has lost its data or has got other data; they are kept until they are \
                     registered again, Nomad says that they go, or {left} s are over"
                )
            }
        }
    }
}

/// Reads that agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Confirmed {
    reads: u32,
    /// Confirming reads that had been made when this was last looked at.
    seen: u64,
    /// When the last one that counts was seen.
    at: Moment,
}

impl Confirmed {
    /// One that came too soon after another does not count, then or later.
    fn note(&mut self, confirmations: u64, now: Moment) {
        // A clock that was set back must not prolong it.
        self.at = self.at.min(now);
        let another = confirmations > self.seen;
        self.seen = confirmations;
        if another && (self.reads == 0 || now.since(self.at) >= APART) {
            self.reads += 1;
            self.at = now;
        }
    }
}

/// What the guard remembers from one pass to the next.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Losses {
    /// What is held now, and why.
    pub hold: Option<Hold>,
    /// What was lost and let go.
    let_go: BTreeMap<Key, LetGo>,
    /// How often Consul's history had broken off when this was last looked at.
    restarts: u64,
    /// When it did so last, as long as that matters.
    data_lost: Option<Moment>,
}

impl Losses {
    /// The config has that virtual service no more: its real servers go because somebody wants it, and none is held.
    pub fn intend(&mut self, id: ServiceId, reals: &[RealServer], now: Moment) {
        let intended = LetGo {
            at: now,
            confirmed: true,
        };
        let keys = reals.iter().map(|real| (id, real.address));
        self.let_go.extend(keys.map(|key| (key, intended)));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LetGo {
    at: Moment,
    /// After it had been held: it is not held again, even if the kernel did not do it yet.
    confirmed: bool,
}

type Key = (ServiceId, SocketAddr);

/// What the guard looks at beside `desired`.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    pub table: &'a Table,
    pub last: &'a Saved,
    pub catalog: Option<&'a Catalog>,
    pub confirmations: u64,
    /// How often Consul went on with another history.
    pub restarts: u64,
}

/// Instances by address, with their allocations. What the catalogue still has somewhere asks for something else now, or
/// its virtual service has another owner: that is somebody's will and no loss.
struct Elsewhere(HashMap<SocketAddr, Vec<Option<AllocId>>>);

impl Elsewhere {
    fn of(catalog: Option<&Catalog>) -> Self {
        let mut all: HashMap<SocketAddr, Vec<Option<AllocId>>> = HashMap::new();
        let services = catalog.iter().flat_map(|catalog| catalog.services.values());
        for instance in services.flat_map(|service| &service.instances) {
            let alloc = instance.origin.as_ref().map(|origin| origin.alloc);
            all.entry(instance.address).or_default().push(alloc);
        }
        Self(all)
    }

    /// Whether it has the very one that Nomad runs there.
    fn has(&self, desired: &Desired, address: SocketAddr) -> bool {
        let fleet = desired.fleet.as_ref();
        let runs = fleet.and_then(|fleet| fleet.at(address)).map(|it| it.id);
        let there = self.0.get(&address);
        there.is_some_and(|allocs| runs.is_none() || allocs.contains(&runs))
    }
}

struct Lost {
    id: ServiceId,
    settings: ServiceSettings,
    real: RealServer,
    phase: Option<Phase>,
}

impl Lost {
    fn key(&self) -> Key {
        (self.id, self.real.address)
    }
}

/// How much is lost, of how much.
#[derive(Debug, Clone, Copy)]
struct Extent {
    lost: usize,
    serving: usize,
    contradicted: bool,
    data_lost: Option<Moment>,
}

/// Puts what is held back into `desired`; what to remember.
pub fn guard(
    desired: &mut Desired,
    evidence: &Evidence<'_>,
    policy: &Policy,
    before: &Losses,
    now: Moment,
) -> Losses {
    let mut let_go = before.let_go.clone();
    let data_lost = if evidence.restarts > before.restarts {
        Some(now)
    } else {
        // A clock that was set back must not prolong it.
        before.data_lost.map(|at| at.min(now))
    };
    let data_lost = data_lost.filter(|at| now.since(*at) < DATA_LOSS_PATIENCE);
    let restarts = evidence.restarts.max(before.restarts);
    if !desired.complete {
        return Losses {
            hold: None,
            let_go,
            restarts,
            data_lost,
        };
    }
    let_go.retain(|(id, address), one| {
        one.at = one.at.min(now);
        now.since(one.at) < PATIENCE && is_lost(desired, id, *address)
    });
    let (mut lost, serving) = losses(desired, evidence, policy);
    lost.retain(|one| !let_go.get(&one.key()).is_some_and(|gone| gone.confirmed));
    let extent = extent(&lost, &let_go, serving, evidence.table, data_lost);
    // Of lost data some come back before others: what is left is as lost as all of it was.
    let goes_on = data_lost.is_some() && before.hold.is_some();
    let suspect = extent
        .filter(|extent| goes_on || is_suspect(extent, &lost, &let_go, evidence.table, policy));
    let hold =
        suspect.and_then(|extent| hold(extent, before.hold.as_ref(), evidence.confirmations, now));
    for one in lost {
        if hold.is_some() {
            keep(desired, &one, evidence.last, policy);
        } else {
            let confirmed = suspect.is_some();
            let_go
                .entry(one.key())
                .or_insert(LetGo { at: now, confirmed })
                .confirmed |= confirmed;
        }
    }
    Losses {
        hold,
        let_go,
        restarts,
        data_lost,
    }
}

/// The hold as it goes on, or that it is over.
fn hold(extent: Extent, before: Option<&Hold>, confirmations: u64, now: Moment) -> Option<Hold> {
    let (since, mut confirmed) = before.map_or_else(
        || {
            let none = Confirmed {
                reads: 0,
                seen: confirmations,
                at: now,
            };
            (now, none)
        },
        // A clock that was set back must not prolong it.
        |before| (before.since.min(now), before.confirmed),
    );
    confirmed.note(confirmations, now);
    let patient = !extent.contradicted || now.since(since) >= PATIENCE;
    let over = confirmed.reads >= READS && patient && extent.data_lost.is_none();
    (!over).then_some(Hold {
        since,
        lost: extent.lost,
        serving: extent.serving,
        contradicted: extent.contradicted,
        data_lost: extent.data_lost,
        confirmed,
    })
}

/// What is lost now and what was let go, of what serves and what did; `None` if nothing is lost now.
fn extent(
    lost: &[Lost],
    let_go: &BTreeMap<Key, LetGo>,
    serving: usize,
    table: &Table,
    data_lost: Option<Moment>,
) -> Option<Extent> {
    let gone = let_go.keys().filter(|key| !serves(table, key)).count();
    let again = lost.iter().filter(|lost| let_go.contains_key(&lost.key()));
    (!lost.is_empty()).then(|| Extent {
        lost: lost.len() + let_go.len() - again.count(),
        serving: serving + gone,
        contradicted: lost.iter().any(|lost| lost.phase.is_some()),
        data_lost,
    })
}

/// Whether so much is lost that it is not believed: of all, or of one virtual service of which Nomad says that it runs.
fn is_suspect(
    extent: &Extent,
    lost: &[Lost],
    let_go: &BTreeMap<Key, LetGo>,
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
            let_go.contains_key(&(*id, address))
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

/// Whether the catalogue has it no more without Nomad's consent.
fn is_lost(desired: &Desired, id: &ServiceId, address: SocketAddr) -> bool {
    let service = desired.services.get(id);
    let there = service.is_some_and(|service| {
        !service.complete
            || service
                .endpoints
                .binary_search_by_key(&address, |endpoint| endpoint.address)
                .is_ok()
    });
    !there && unexplained(desired.fate(address))
}

fn unexplained((want, phase): (Want, Option<Phase>)) -> bool {
    want == Want::Drain && matches!(phase, None | Some(Phase::Running))
}

/// Serving real servers that the catalogue lost without Nomad's consent, and how many serve in all.
fn losses(desired: &Desired, evidence: &Evidence<'_>, policy: &Policy) -> (Vec<Lost>, usize) {
    let table = evidence.table;
    let mut elsewhere = None;
    let mut lost = Vec::new();
    let mut serving = 0;
    for (id, service) in table.iter().filter(|(id, _)| policy.ownership.owns(id)) {
        let wanted = desired.services.get(id);
        let unread = wanted.is_some_and(|wanted| !wanted.complete);
        let endpoints = wanted.map(|wanted| wanted.endpoints.as_slice());
        let mut endpoints = endpoints.unwrap_or_default().iter().peekable();
        for real in service.reals().iter().filter(|real| real.weight.serves()) {
            serving += 1;
            while endpoints
                .next_if(|endpoint| endpoint.address < real.address)
                .is_some()
            {}
            let present = endpoints
                .peek()
                .is_some_and(|endpoint| endpoint.address == real.address);
            if present || unread {
                continue;
            }
            let fate = desired.fate(real.address);
            let mut is_elsewhere = || {
                let all = elsewhere.get_or_insert_with(|| Elsewhere::of(evidence.catalog));
                all.has(desired, real.address)
            };
            if unexplained(fate) && !is_elsewhere() {
                lost.push(Lost {
                    id: *id,
                    settings: service.settings,
                    real: *real,
                    phase: fate.1,
                });
            }
        }
    }
    (lost, serving)
}

fn keep(desired: &mut Desired, lost: &Lost, last: &Saved, policy: &Policy) {
    let saved = last.get(&lost.id);
    let before = || {
        Arc::new(DesiredService {
            name: saved.map_or_else(
                || Arc::from(lost.id.to_string()),
                |saved| Arc::clone(&saved.name),
            ),
            settings: lost.settings,
            forwarding: saved.map_or(Forwarding::Masquerade, |saved| saved.forwarding),
            snat: saved.is_some_and(|saved| saved.snat),
            drain: saved.and_then(|saved| saved.drain).unwrap_or(policy.drain),
            declared: Declared::Disk,
            complete: true,
            endpoints: Vec::new(),
        })
    };
    let service = desired.services.entry(lost.id).or_insert_with(before);
    // Nobody's clients are sent to somebody else's servers: a new owner waits until the old one's loss is certain.
    if let Some(saved) = saved.filter(|saved| saved.name != service.name) {
        let why = format!(
            "{} is kept for {} until its loss is certain",
            lost.id, saved.name
        );
        let owner = std::mem::replace(service, before());
        let owner = Arc::clone(&owner.name);
        desired.rejected.push((owner, Rejected::because(why)));
    }
    let endpoint = Endpoint {
        address: lost.real.address,
        want: Want::Keep,
        phase: lost.phase,
        health: None,
        alloc: None,
        held: true,
    };
    desired.basis = None;
    let endpoints = &mut Arc::make_mut(service).endpoints;
    if let Err(at) = endpoints.binary_search_by_key(&endpoint.address, |there| there.address) {
        endpoints.insert(at, endpoint);
    }
}

#[cfg(test)]
mod tests;
