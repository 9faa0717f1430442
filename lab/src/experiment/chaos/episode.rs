//! What happens in an episode, as a value. Pure: the same seed gives the same episode.
//!
//! One fault or two at once, each of one kind on one part, and at most one change of the job meanwhile. Times count from
//! the first fault. Not for how a fault is done: see [`super::fault`].

use std::fmt;
use std::time::Duration;

use fastrand::Rng;
use serde::Serialize;

use crate::world::kernel::Choice;

/// What a fault hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Part {
    /// The task driver: Nomad's child.
    Plugin,
    Nomad,
    Docker,
    /// Docker's child.
    Containerd,
    Consul,
    /// The node's syncer.
    Registrar,
    /// The director's syncer.
    Syncer,
    /// The director's kernel and all that runs in it.
    Director,
    /// The machine with engine, agents and registrar: only its cable.
    Node1,
    /// The setting of the director's kernel without which SNAT does nothing.
    Sysctl,
    /// The VIP itself, on the director's interface.
    Address,
    /// The director's packet rules for SNAT.
    Rule,
    /// The director's IPVS table: a real server that nobody has asked for.
    Table,
    /// The node's packet rules: for direct routing, and those that lead host ports to containers.
    NodeRule,
}

/// What is done to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// SIGKILL, and dead for a while.
    Kill,
    /// SIGSTOP, and SIGCONT after a while.
    Pause,
    /// SIGTERM, and started again at once.
    Restart,
    /// Off the network for a while.
    CutOff,
    /// Changed by an operator's hand, and not changed back: that is the syncer's work.
    Meddle,
}

/// A fault, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) part: Part,
    pub(super) after: Duration,
    pub(super) lasts: Duration,
}

/// What is asked of Nomad while a fault lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Change {
    RollingUpdate,
    ScaleUp,
    ScaleDown,
    StopOne,
}

/// A change, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Timed {
    pub(super) change: Change,
    pub(super) after: Duration,
}

/// All that happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Episode {
    pub(super) seed: u64,
    pub(super) faults: Vec<Fault>,
    pub(super) change: Option<Timed>,
}

/// Allocations at an episode's beginning.
pub(super) const COUNT: u32 = 2;

const CHANGES: [Change; 4] = [
    Change::RollingUpdate,
    Change::ScaleUp,
    Change::ScaleDown,
    Change::StopOne,
];

/// What an operator's hand can reach in the director's kernel.
const MEDDLED: [Part; 4] = [Part::Sysctl, Part::Address, Part::Rule, Part::Table];

/// All that an operator's hand can reach.
const IN_REACH: [Part; 5] = [
    Part::Sysctl,
    Part::Address,
    Part::Rule,
    Part::Table,
    Part::NodeRule,
];

/// Seeds of a run's episodes. The first is the run's own, so that an episode's seed replays it alone.
pub(super) fn seeds(first: u64) -> impl Iterator<Item = u64> {
    let mut rng = Rng::with_seed(first);
    std::iter::once(first).chain(std::iter::repeat_with(move || u64::from(rng.u32(..))))
}

/// Every fault that can be done where the director runs on this kernel.
pub(super) fn possible(kernel: Choice) -> Vec<(Kind, Part)> {
    let processes = [
        Part::Plugin,
        Part::Nomad,
        Part::Docker,
        Part::Containerd,
        Part::Consul,
        Part::Registrar,
        Part::Syncer,
        Part::Director,
    ];
    // A namespace of the machine's own kernel is no process.
    let processes = processes
        .into_iter()
        .filter(|&part| part != Part::Director || kernel == Choice::Uml);
    let mut all: Vec<(Kind, Part)> = processes
        .flat_map(|part| [Kind::Kill, Kind::Pause, Kind::Restart].map(|kind| (kind, part)))
        .collect();
    all.extend([(Kind::CutOff, Part::Director), (Kind::CutOff, Part::Node1)]);
    all.extend(IN_REACH.map(|part| (Kind::Meddle, part)));
    all
}

impl Episode {
    pub(super) fn of(seed: u64, kernel: Choice) -> Self {
        let mut rng = Rng::with_seed(seed);
        let possible = possible(kernel);
        let first = fault(&mut rng, &possible, Duration::ZERO);
        let mut faults = vec![first];
        if rng.bool() {
            let rest: Vec<_> = possible
                .into_iter()
                .filter(|&(kind, part)| goes_with(&first, kind, part))
                .collect();
            let after = millis(&mut rng, 0, first.lasts);
            faults.push(fault(&mut rng, &rest, after));
        }
        let mut episode = Self {
            seed,
            faults,
            change: None,
        };
        if rng.bool() {
            episode.change = Some(Timed {
                change: CHANGES[rng.usize(..CHANGES.len())],
                after: millis(&mut rng, 0, episode.ends()),
            });
        }
        episode
    }

    /// When the last fault is over.
    pub(super) fn ends(&self) -> Duration {
        let ends = self.faults.iter().map(|fault| fault.after + fault.lasts);
        ends.max().unwrap_or_default()
    }

    /// Whether a request may be lost: packets pass through what is hit.
    pub(super) fn hits_data_path(&self) -> bool {
        self.faults.iter().any(Fault::hits_data_path)
    }

    /// Whether something is left to the syncer to find and to put right.
    pub(super) fn is_meddled_with(&self) -> bool {
        self.faults.iter().any(|fault| fault.kind == Kind::Meddle)
    }

    /// Whether the director's table may be lost with its kernel.
    pub(super) fn ends_director(&self) -> bool {
        self.faults.iter().any(|fault| {
            fault.part == Part::Director && matches!(fault.kind, Kind::Kill | Kind::Restart)
        })
    }

    /// Whether the director's kernel can be asked all the time.
    pub(super) fn director_answers(&self) -> bool {
        let mut faults = self.faults.iter();
        faults.all(|fault| fault.part != Part::Director || fault.kind == Kind::CutOff)
    }

    /// Allocations when all is over.
    pub(super) fn count(&self) -> u32 {
        match self.change.map(|timed| timed.change) {
            Some(Change::ScaleUp) => COUNT * 2,
            Some(Change::ScaleDown) => COUNT - 1,
            Some(Change::RollingUpdate | Change::StopOne) | None => COUNT,
        }
    }

    /// How many of the first allocations the change takes away.
    pub(super) fn replaced(&self) -> usize {
        match self.change.map(|timed| timed.change) {
            Some(Change::RollingUpdate) => COUNT as usize,
            Some(Change::ScaleDown | Change::StopOne) => 1,
            Some(Change::ScaleUp) | None => 0,
        }
    }
}

impl Fault {
    /// The director forwards, and node1 has the containers. The engine is not on the way: host ports lead past it.
    fn hits_data_path(&self) -> bool {
        match self.part {
            // A stranger among the real servers answers nobody.
            Part::Director
            | Part::Node1
            | Part::Sysctl
            | Part::Address
            | Part::Rule
            | Part::Table
            | Part::NodeRule => true,
            _ => false,
        }
    }
}

/// Two faults at once hit two parts, and neither is inside the other.
fn goes_with(first: &Fault, kind: Kind, part: Part) -> bool {
    let inside = |outer: Part, kind: Kind, inner: Part| {
        let in_its_kernel = inner == Part::Syncer || MEDDLED.contains(&inner);
        outer == Part::Director && kind != Kind::CutOff && in_its_kernel
    };
    part != first.part && !inside(first.part, first.kind, part) && !inside(part, kind, first.part)
}

fn fault(rng: &mut Rng, possible: &[(Kind, Part)], after: Duration) -> Fault {
    let (kind, part) = possible[rng.usize(..possible.len())];
    let lasts = millis(rng, 300, Duration::from_secs(8));
    Fault {
        kind,
        part,
        after,
        lasts: if matches!(kind, Kind::Restart | Kind::Meddle) {
            Duration::ZERO
        } else {
            lasts
        },
    }
}

fn millis(rng: &mut Rng, least: u64, most: Duration) -> Duration {
    let most = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(rng.u64(least..=most.max(least)))
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plugin => "plugin",
            Self::Nomad => "nomad",
            Self::Docker => "docker",
            Self::Containerd => "containerd",
            Self::Consul => "consul",
            Self::Registrar => "registrar",
            Self::Syncer => "syncer",
            Self::Director => "director",
            Self::Node1 => "node1",
            Self::Sysctl => "sysctl",
            Self::Address => "address",
            Self::Rule => "rule",
            Self::Table => "table",
            Self::NodeRule => "node rule",
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Restart => "restart",
            Self::CutOff => "cut off",
            Self::Meddle => "meddle with",
        })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RollingUpdate => "rolling update",
            Self::ScaleUp => "scale up",
            Self::ScaleDown => "scale down",
            Self::StopOne => "stop one",
        })
    }
}

impl fmt::Display for Episode {
    /// `kill consul 3.2 s + pause nomad 1.1 s at 0.4 s; scale up at 2.0 s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, fault) in self.faults.iter().enumerate() {
            if number > 0 {
                f.write_str(" + ")?;
            }
            write!(f, "{} {}", fault.kind, fault.part)?;
            if !fault.lasts.is_zero() {
                write!(f, " {:.1} s", fault.lasts.as_secs_f64())?;
            }
            if !fault.after.is_zero() {
                write!(f, " at {:.1} s", fault.after.as_secs_f64())?;
            }
        }
        if let Some(timed) = &self.change {
            let at = timed.after.as_secs_f64();
            write!(f, "; {} at {at:.1} s", timed.change)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
