//! One profile's lab, as every command sees it: who, where, on which kernel.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::host::cgroup::Cgroup;
use crate::host::paths::{Paths, Person};
use crate::host::process;
use crate::host::record::Records;
use crate::world::forward::Forward;
use crate::world::kernel::host::Host;
use crate::world::kernel::uml::Uml;
use crate::world::kernel::{Choice, Kernel};
use crate::world::topology::{Node, Nodes, Topology};

/// Everything a command needs to know.
#[expect(
    missing_debug_implementations,
    reason = "the kernel is a trait object without a text"
)]
pub struct Lab {
    pub person: Person,
    pub paths: Paths,
    pub topology: Topology,
    pub records: Records,
    pub cgroup: Cgroup,
    pub forward: Forward,
    pub kernel: Box<dyn Kernel>,
}

/// What `up` decided, for the commands that follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decisions {
    pub boot: String,
    pub kernel: Choice,
    #[serde(default)]
    pub nodes: Nodes,
    #[serde(default)]
    pub forward: Forward,
    pub nomad: PathBuf,
    pub consul: PathBuf,
}

/// What the person chose of what a lab may be. It overrides what an earlier `up` chose, which overrides what fits this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Choices {
    pub kernel: Option<Choice>,
    pub nodes: Option<Nodes>,
    pub forward: Option<Forward>,
}

impl Lab {
    pub fn open(profile: &str, kernel: Option<Choice>) -> Result<Self> {
        let choices = Choices {
            kernel,
            ..Choices::default()
        };
        Self::open_with(profile, choices)
    }

    pub fn open_with(profile: &str, choices: Choices) -> Result<Self> {
        let person = Person::find()?;
        let topology = Topology::of(profile)?;
        let paths = Paths::of(&person, profile);
        let before = decisions(&paths);
        let chosen = choices
            .kernel
            .or_else(|| before.as_ref().map(|found| found.kernel))
            .unwrap_or_else(Choice::best);
        let nodes = choices
            .nodes
            .or_else(|| before.as_ref().map(|found| found.nodes))
            .unwrap_or_default();
        let forward = choices
            .forward
            .or_else(|| before.as_ref().map(|found| found.forward))
            .unwrap_or_default();
        let topology = topology.with(nodes);
        let kernel: Box<dyn Kernel> = match chosen {
            Choice::Host => Box::new(Host::new(&topology)),
            Choice::Uml => Box::new(Uml::new(&topology, &paths, &person)),
        };
        let records = Records::of(&paths, &person);
        Ok(Self {
            cgroup: Cgroup::of(profile),
            person,
            paths,
            topology,
            records,
            forward,
            kernel,
        })
    }

    /// What the last `up` of this boot decided.
    pub fn decisions(&self) -> Option<Decisions> {
        decisions(&self.paths)
    }

    pub fn save_decisions(&self, nomad: PathBuf, consul: PathBuf) -> Result<()> {
        let found = Decisions {
            boot: process::boot_id(),
            kernel: self.kernel.choice(),
            nodes: self.topology.nodes(),
            forward: self.forward,
            nomad,
            consul,
        };
        let text = serde_json::to_string_pretty(&found).context("write the lab's decisions")?;
        self.person.write(&file(&self.paths), &text)
    }

    pub fn docker_host(&self) -> String {
        self.docker_host_of(Node::Node1)
    }

    pub fn docker_host_of(&self, node: Node) -> String {
        format!("unix://{}", self.run_of(node).join("docker.sock").display())
    }

    /// What a part is called in records and logs: by its name alone on node1.
    pub fn part_name(&self, node: Node, part: &str) -> String {
        match node {
            Node::Node2 => format!("{part}-{}", node.name()),
            Node::Node1 | Node::Client | Node::Director => part.to_owned(),
        }
    }

    /// Where a node's parts keep what they are.
    pub fn state_of(&self, node: Node) -> PathBuf {
        self.paths.state.join(node.name())
    }

    /// Where a node's sockets are.
    pub fn run_of(&self, node: Node) -> PathBuf {
        match node {
            Node::Node2 => self.paths.run.join(node.name()),
            Node::Node1 | Node::Client | Node::Director => self.paths.run.clone(),
        }
    }
}

fn file(paths: &Paths) -> PathBuf {
    paths.state.join("lab.json")
}

fn decisions(paths: &Paths) -> Option<Decisions> {
    let text = std::fs::read_to_string(file(paths)).ok()?;
    serde_json::from_str::<Decisions>(&text)
        .ok()
        .filter(|found| found.boot == process::boot_id())
}
