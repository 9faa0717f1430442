//! What should be registered on a node, and the steps from what is. Pure.
//!
//! A registration of ours goes when Nomad says that its allocation is over, or does not want it. What Nomad does not
//! mention is no proof: a token that lost its rights gets a short list, or an empty one, and no error. It is *held* until
//! it has been missing from answers for [`MISSING_HOLD`], and for as long as Nomad's list is empty altogether.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use syncer_core::model::AllocId;
use syncer_core::model::catalog::{NOMAD_REGISTRATIONS, OUR_REGISTRATIONS, Origin};
use syncer_core::model::fleet::{Allocation, Fleet, Phase};
use tokio::time::Instant;

/// For how long, and in how many answers, an allocation has to be missing until its registration goes.
pub const MISSING_HOLD: Duration = Duration::from_mins(1);
const MISSING_ANSWERS: u32 = 2;

/// One registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// `nomad-ipvs-<alloc>-<task or group>-<label>`.
    pub id: String,
    /// `<job>-<group>-<label>`.
    pub name: String,
    pub address: SocketAddr,
    pub alloc: AllocId,
}

/// A registration as the agent has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentEntry {
    pub name: String,
    pub address: String,
    pub port: i64,
}

/// One thing to do at the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistrarStep {
    Register(Registration),
    Deregister(String),
}

impl fmt::Display for RegistrarStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Register(registration) => write!(
                f,
                "register {} {} as {}",
                registration.name, registration.address, registration.id
            ),
            Self::Deregister(id) => write!(f, "deregister {id}"),
        }
    }
}

/// Ports of running, wanted allocations of `node` (its name or id) that no `service` block registers. `current` are the
/// ids at the agent: what Nomad registered under any name for the same allocation and label is not done twice.
pub fn wanted<'a>(
    fleet: &Fleet,
    node: &str,
    current: impl Iterator<Item = &'a str>,
) -> Vec<Registration> {
    let nomads: BTreeSet<&str> = current
        .filter_map(|id| id.strip_prefix(NOMAD_REGISTRATIONS))
        .collect();
    let mut wanted = Vec::new();
    for alloc in fleet.iter().filter(|alloc| lives_on(alloc, node)) {
        for port in &alloc.ports {
            let (id, label) = (alloc.id.to_string(), &port.label);
            let mut of_alloc = nomads
                .range(id.as_str()..)
                .take_while(|other| other.starts_with(&id));
            let nomad_did = of_alloc.any(|other| label_of(other, alloc) == Some(&**label));
            if port.registered_by_nomad != Some(false)
                || nomad_did
                || alloc.phase(port.address) != Phase::Running
            {
                continue;
            }
            let owner = match &port.task {
                Some(task) => task.to_string(),
                None => format!("group-{}", alloc.group),
            };
            wanted.push(Registration {
                id: format!("{OUR_REGISTRATIONS}{id}-{owner}-{label}"),
                name: plain(&format!("{}-{}-{label}", alloc.job, alloc.group)),
                address: port.address,
                alloc: alloc.id,
            });
        }
    }
    wanted.sort_by(|a, b| a.id.cmp(&b.id));
    wanted
}

/// Whether an allocation is of that node, by its id or its name.
pub fn lives_on(alloc: &Allocation, node: &str) -> bool {
    *alloc.node_id == *node || *alloc.node_name == *node
}

/// The port's label that a registration's id ends in. Labels have dashes too: `…-my-http` is not of `http` where there
/// is a `my-http`.
fn label_of<'a>(id: &str, alloc: &'a Allocation) -> Option<&'a str> {
    let labels = alloc.ports.iter().map(|port| &*port.label);
    let ends = |label: &&str| {
        id.strip_suffix(label)
            .is_some_and(|rest| rest.ends_with('-'))
    };
    labels.filter(ends).max_by_key(|label| label.len())
}

/// Only letters, digits and dashes: the name is also a DNS label.
fn plain(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect()
}

/// What Nomad said about a registration of ours that is not wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// The allocation is over, or nobody wants it.
    Over,
    /// The allocation may still serve.
    Stays,
    /// Nomad does not mention the allocation.
    Missing,
}

fn verdict(id: &str, registered: &AgentEntry, fleet: &Fleet, node: &str) -> Verdict {
    let Some(origin) = Origin::of_service_id(id) else {
        return Verdict::Missing;
    };
    let Some(alloc) = fleet
        .get(origin.alloc)
        .filter(|alloc| lives_on(alloc, node))
    else {
        return Verdict::Missing;
    };
    let own = |port: &&syncer_core::model::fleet::Port| {
        port.address.ip().to_string() == registered.address
            && i64::from(port.address.port()) == registered.port
    };
    let Some(port) = alloc.ports.iter().find(own) else {
        return Verdict::Over;
    };
    match alloc.phase(port.address) {
        Phase::Pending | Phase::Restarting | Phase::Stopping | Phase::Complete | Phase::Failed => {
            Verdict::Over
        }
        // The port is somebody else's by now.
        Phase::Lost | Phase::Unknown
            if fleet
                .at(port.address)
                .is_some_and(|other| other.id != alloc.id) =>
        {
            Verdict::Over
        }
        Phase::Lost | Phase::Unknown => Verdict::Stays,
        Phase::Running if port.registered_by_nomad.is_none() => Verdict::Stays,
        Phase::Running => Verdict::Over,
    }
}

/// Registrations of ours that Nomad does not mention, and since when.
#[derive(Debug, Clone, Default)]
pub struct Absences(BTreeMap<String, Absence>);

#[derive(Debug, Clone, Copy)]
struct Absence {
    since: Instant,
    answers: u32,
    last: Instant,
}

impl Absences {
    /// Counts one more answer for those that are missing from it; the same answer counts once.
    fn note(&mut self, missing: &[&str], answered: Instant) {
        self.0.retain(|id, _| missing.contains(&id.as_str()));
        for id in missing {
            let absence = self.0.entry((*id).to_owned()).or_insert(Absence {
                since: answered,
                answers: 0,
                last: answered,
            });
            if absence.answers == 0 || absence.last < answered {
                absence.answers += 1;
                absence.last = answered;
            }
        }
    }

    fn is_over(&self, id: &str, now: Instant) -> bool {
        self.0.get(id).is_some_and(|absence| {
            absence.answers >= MISSING_ANSWERS && now.duration_since(absence.since) >= MISSING_HOLD
        })
    }
}

/// Nomad's answer, and when it came.
#[derive(Debug, Clone, Copy)]
pub struct NomadAnswer<'a> {
    pub fleet: &'a Fleet,
    /// Name or id of the node.
    pub node: &'a str,
    pub at: Instant,
    pub now: Instant,
}

/// What to do, and what is left although it is not wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Work {
    pub steps: Vec<RegistrarStep>,
    /// Registrations that Nomad does not mention, or whose client it has lost.
    pub held: Vec<String>,
}

/// Finds the steps from what the agent has to what it should have. Only what has our prefix is ever removed.
pub fn work(
    wanted: &[Registration],
    current: &BTreeMap<String, AgentEntry>,
    nomad: &NomadAnswer<'_>,
    absences: &mut Absences,
) -> Work {
    let same = |registration: &Registration| {
        current.get(&registration.id).is_some_and(|other| {
            other.name == registration.name
                && other.address == registration.address.ip().to_string()
                && other.port == i64::from(registration.address.port())
        })
    };
    let known: BTreeSet<&str> = wanted
        .iter()
        .map(|registration| registration.id.as_str())
        .collect();
    let register = wanted
        .iter()
        .filter(|registration| !same(registration))
        .cloned()
        .map(RegistrarStep::Register);
    let stale: Vec<(&str, Verdict)> = current
        .iter()
        .filter(|(id, _)| id.starts_with(OUR_REGISTRATIONS) && !known.contains(id.as_str()))
        .map(|(id, registration)| {
            (
                id.as_str(),
                verdict(id, registration, nomad.fleet, nomad.node),
            )
        })
        .collect();
    let missing = stale
        .iter()
        .filter(|(_, verdict)| *verdict == Verdict::Missing);
    let missing: Vec<&str> = missing.map(|(id, _)| *id).collect();
    absences.note(&missing, nomad.at);
    let goes = |id: &str, verdict: Verdict| match verdict {
        Verdict::Over => true,
        Verdict::Stays => false,
        Verdict::Missing => !nomad.fleet.is_empty() && absences.is_over(id, nomad.now),
    };
    let (gone, held): (Vec<_>, Vec<_>) = stale
        .into_iter()
        .partition(|(id, verdict)| goes(id, *verdict));
    let gone = gone
        .into_iter()
        .map(|(id, _)| RegistrarStep::Deregister(id.to_owned()));
    Work {
        steps: register.chain(gone).collect(),
        held: held.into_iter().map(|(id, _)| id.to_owned()).collect(),
    }
}

#[cfg(test)]
mod tests;
