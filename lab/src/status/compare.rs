//! Joins the three views by the real server's address and says whether they agree. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde::Serialize;

/// A port of an allocation, as Nomad tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Allocation {
    pub id: String,
    pub job: String,
    pub group: String,
    pub label: String,
    /// Client status; `stopping` when it is no longer wanted and not yet gone.
    pub state: String,
}

/// An instance of a service, as Consul tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Instance {
    pub service: String,
    /// Worst of its checks: passing, warning or critical.
    pub health: String,
}

/// A real server, as the kernel tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct RealServer {
    pub vip: String,
    pub weight: u32,
    pub active: u32,
    pub inactive: u32,
}

/// What the syncer says about a real server: a state word and a reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Words {
    pub service: String,
    pub state: String,
    pub why: String,
}

/// The three views, or why one could not be had, and the syncer's words.
#[derive(Debug, Clone)]
pub struct View {
    pub allocations: Result<BTreeMap<SocketAddr, Allocation>, String>,
    pub instances: Result<BTreeMap<SocketAddr, Instance>, String>,
    pub kernel: Result<BTreeMap<SocketAddr, RealServer>, String>,
    pub syncer: Option<Syncer>,
}

/// The director's syncer: which services have a VIP, and what it says of each address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Syncer {
    pub services: BTreeSet<String>,
    pub words: BTreeMap<SocketAddr, Words>,
}

impl View {
    pub fn is_whole(&self) -> bool {
        self.allocations.is_ok()
            && self.instances.is_ok()
            && self.kernel.is_ok()
            && self.syncer.is_some()
    }
}

/// One address in all three views.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    pub address: SocketAddr,
    pub allocation: Option<Allocation>,
    pub instance: Option<Instance>,
    pub real_server: Option<RealServer>,
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// Whether the views agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", content = "why", rename_all = "snake_case")]
pub enum Verdict {
    Agree,
    /// On its way to agreement, in the syncer's words.
    Moving(String),
    Differ(String),
}

/// Every address that any view knows, in order.
pub(super) fn rows(view: &View) -> Vec<Row> {
    let empty = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let allocations = view.allocations.as_ref().unwrap_or(&empty.0);
    let instances = view.instances.as_ref().unwrap_or(&empty.1);
    let kernel = view.kernel.as_ref().unwrap_or(&empty.2);
    let addresses: BTreeSet<&SocketAddr> = allocations
        .keys()
        .chain(instances.keys())
        .chain(kernel.keys())
        .collect();
    addresses
        .into_iter()
        .map(|address| {
            let mut row = Row {
                address: *address,
                allocation: allocations.get(address).cloned(),
                instance: instances.get(address).cloned(),
                real_server: kernel.get(address).cloned(),
                verdict: Verdict::Agree,
            };
            row.verdict = judge(view, &row);
            row
        })
        .collect()
}

fn judge(view: &View, row: &Row) -> Verdict {
    let unread = [
        view.allocations.as_ref().err(),
        view.instances.as_ref().err(),
        view.kernel.as_ref().err(),
    ];
    if let Some(why) = unread.into_iter().flatten().next() {
        return Verdict::Differ(format!("can't be told: {why}"));
    }
    let syncer = view.syncer.as_ref();
    let words = syncer.and_then(|syncer| syncer.words.get(&row.address));
    if let Some(words) = words
        && matches!(
            words.state.as_str(),
            "warming" | "draining" | "quiesced" | "waiting"
        )
    {
        return Verdict::Moving(format!("{}: {}", words.state, words.why));
    }
    let has_vip = row.instance.as_ref().is_some_and(|instance| {
        syncer.is_none_or(|syncer| syncer.services.contains(&instance.service))
    });
    match (&row.allocation, &row.instance, &row.real_server) {
        (Some(allocation), None, _) if allocation.state == "running" => {
            Verdict::Differ("Nomad runs it, the catalogue doesn't have it".to_owned())
        }
        (None, Some(_), None) => Verdict::Differ("the catalogue has it, Nomad doesn't".to_owned()),
        (_, None, Some(real)) => Verdict::Differ(format!(
            "the kernel sends to it ({}), the catalogue doesn't have it",
            real.vip
        )),
        (_, Some(instance), Some(real)) if instance.health == "passing" && real.weight == 0 => {
            Verdict::Differ(because("passing in Consul, but its weight is 0", words))
        }
        (_, Some(instance), Some(real)) if instance.health == "critical" && real.weight > 0 => {
            Verdict::Differ(because(
                "critical in Consul, but the kernel sends to it",
                words,
            ))
        }
        (_, Some(instance), None) if instance.health == "passing" && has_vip => {
            Verdict::Differ(because("passing in Consul, not in the kernel", words))
        }
        _ => Verdict::Agree,
    }
}

fn because(what: &str, words: Option<&Words>) -> String {
    words.map_or_else(
        || what.to_owned(),
        |words| format!("{what} ({}: {})", words.state, words.why),
    )
}

#[cfg(test)]
mod tests;
