//! Joins the three views and says whether they agree. Pure.
//!
//! Views meet at an address, but an address may be more than one thing: an instance of two services, a real server of
//! two virtual services. So a row is one real server of one virtual service, or one instance that has none.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde::Serialize;

use super::data_plane::{DataPlane, Reach};
use super::kernel::{Kernel, RealServer, address_of};

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
    /// The VIPs that its own tags ask for.
    pub vips: BTreeSet<String>,
}

/// Ports of allocations, by address. A port that is given on while its old owner stops has two.
pub type Allocations = BTreeMap<SocketAddr, Vec<Allocation>>;

/// Instances, by address. One may be registered under several names.
pub type Instances = BTreeMap<SocketAddr, Vec<Instance>>;

/// What the syncer says about a real server: a state word and a reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Words {
    pub service: String,
    pub state: String,
    pub why: String,
}

/// The three views, or why one could not be had, what the data plane does, and the syncer's words.
#[derive(Debug, Clone)]
pub struct View {
    pub allocations: Result<Allocations, String>,
    pub instances: Result<Instances, String>,
    pub kernel: Result<Kernel, String>,
    /// Whether each VIP answers.
    pub data_plane: Result<DataPlane, String>,
    pub syncer: Option<Syncer>,
}

/// The director's syncer: which VIPs it has for which service, and what it says of each real server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Syncer {
    /// VIPs that take every instance of a service, by the service's name.
    pub of_all: BTreeSet<(String, String)>,
    /// VIPs that take the instances that ask for them.
    pub of_tagged: BTreeSet<(String, String)>,
    /// By real server and VIP.
    pub words: BTreeMap<(SocketAddr, String), Words>,
}

impl Syncer {
    /// The VIPs under which an instance has to be found.
    fn wanted(&self, instance: &Instance) -> BTreeSet<String> {
        let all = self.of_all.iter();
        let all = all.filter(|(service, _)| *service == instance.service);
        let tagged = self
            .of_tagged
            .iter()
            .filter(|(service, vip)| *service == instance.service && instance.vips.contains(vip));
        all.chain(tagged).map(|(_, vip)| vip.clone()).collect()
    }
}

impl View {
    pub fn is_whole(&self) -> bool {
        self.allocations.is_ok()
            && self.instances.is_ok()
            && self.kernel.is_ok()
            && self.data_plane.is_ok()
            && self.syncer.is_some()
    }

    /// VIPs through which no connection comes about, and why.
    pub fn silent(&self) -> Vec<(&str, &str)> {
        let all = self.data_plane.iter().flatten();
        all.filter_map(|(vip, reach)| match reach {
            Reach::Fails { why } => Some((vip.as_str(), why.as_str())),
            Reach::Connects { .. } => None,
        })
        .collect()
    }
}

/// One real server of one VIP, or an instance or allocation without one.
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

/// Everything that any view knows, in order of address.
pub(super) fn rows(view: &View) -> Vec<Row> {
    let addresses: BTreeSet<SocketAddr> = view
        .allocations
        .iter()
        .flat_map(BTreeMap::keys)
        .chain(view.instances.iter().flat_map(BTreeMap::keys))
        .chain(view.kernel.iter().flat_map(BTreeMap::keys))
        .copied()
        .collect();
    addresses
        .into_iter()
        .flat_map(|address| rows_at(view, address))
        .collect()
}

fn rows_at(view: &View, address: SocketAddr) -> Vec<Row> {
    let allocation = of(&view.allocations, &address)
        .iter()
        .max_by_key(|allocation| liveliness(&allocation.state))
        .cloned();
    let instances = of(&view.instances, &address);
    let reals = of(&view.kernel, &address);
    let none = Syncer::default();
    let syncer = view.syncer.as_ref().unwrap_or(&none);
    let row = |instance: Option<&Instance>, real: Option<&RealServer>, missing: Option<&str>| {
        let mut row = Row {
            address,
            allocation: allocation.clone(),
            instance: instance.cloned(),
            real_server: real.cloned(),
            verdict: Verdict::Agree,
        };
        row.verdict = judge(view, &row, missing);
        row
    };
    // Whose real server it is: the instance that wants this VIP, else one that is there at all.
    let owner = |real: &RealServer| {
        let wants =
            |instance: &&Instance| syncer.wanted(instance).iter().any(|vip| real.serves(vip));
        instances.iter().find(wants).or_else(|| instances.first())
    };
    let mut rows: Vec<Row> = reals
        .iter()
        .map(|real| row(owner(real), Some(real), None))
        .collect();
    for instance in instances {
        let wanted = syncer.wanted(instance);
        let missing = wanted
            .iter()
            .filter(|vip| !reals.iter().any(|real| real.serves(vip)));
        let before = rows.len();
        rows.extend(missing.map(|vip| row(Some(instance), None, Some(vip))));
        let shown = rows
            .iter()
            .any(|row| row.instance.as_ref() == Some(instance));
        if rows.len() == before && !shown {
            rows.push(row(Some(instance), None, None));
        }
    }
    if rows.is_empty() {
        rows.push(row(None, None, None));
    }
    rows
}

/// What one view has at an address.
fn of<'a, T>(view: &'a Result<BTreeMap<SocketAddr, Vec<T>>, String>, at: &SocketAddr) -> &'a [T] {
    let found = view.as_ref().ok().and_then(|view| view.get(at));
    found.map(Vec::as_slice).unwrap_or_default()
}

/// Of two allocations with the same port the one that has it now counts.
fn liveliness(state: &str) -> u8 {
    match state {
        "running" => 2,
        "stopping" => 1,
        _ => 0,
    }
}

/// `missing` is the VIP under which the instance should be found and is not.
fn judge(view: &View, row: &Row, missing: Option<&str>) -> Verdict {
    let unread = [
        view.allocations.as_ref().err(),
        view.instances.as_ref().err(),
        view.kernel.as_ref().err(),
    ];
    if let Some(why) = unread.into_iter().flatten().next() {
        return Verdict::Differ(format!("can't be told: {why}"));
    }
    let vip = row.real_server.as_ref().map(|real| address_of(&real.vip));
    let words = view.syncer.as_ref().and_then(|syncer| {
        let vip = vip.or(missing)?;
        syncer.words.get(&(row.address, vip.to_owned()))
    });
    if let Some(words) = words
        && matches!(
            words.state.as_str(),
            "warming" | "draining" | "quiesced" | "waiting"
        )
    {
        return Verdict::Moving(format!("{}: {}", words.state, words.why));
    }
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
        (_, Some(instance), None) if instance.health == "passing" && missing.is_some() => {
            let vip = missing.unwrap_or_default();
            let what = format!("passing in Consul, not in the kernel under {vip}");
            Verdict::Differ(because(&what, words))
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
