//! One profile's lab, as every command sees it: who, where, on which kernel.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::cgroup::Cgroup;
use crate::kernel::host::Host;
use crate::kernel::uml::Uml;
use crate::kernel::{Choice, Kernel};
use crate::paths::{Paths, Person};
use crate::process;
use crate::record::Records;
use crate::topology::{Node, Topology};
use crate::{doctor, part};

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
    pub kernel: Box<dyn Kernel>,
}

/// What `up` decided, for the commands that follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decisions {
    pub boot: String,
    pub kernel: Choice,
    pub nomad: PathBuf,
    pub consul: PathBuf,
}

impl Lab {
    /// `kernel` overrides what an earlier `up` chose, which overrides what fits this machine.
    pub fn open(profile: &str, kernel: Option<Choice>) -> Result<Self> {
        let person = Person::find()?;
        let topology = Topology::of(profile)?;
        let paths = Paths::of(&person, profile);
        let chosen = kernel
            .or_else(|| decisions(&paths).map(|found| found.kernel))
            .unwrap_or_else(Choice::best);
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
            nomad,
            consul,
        };
        let text = serde_json::to_string_pretty(&found).context("write the lab's decisions")?;
        self.person.write(&file(&self.paths), &text)
    }

    /// What the doctor has to find possible for this profile.
    pub fn intent(&self, installing: doctor::Installing) -> doctor::Intent<'_> {
        let nodes = ["fabric", "client", "node1", "director"];
        let namespaces: Vec<String> = nodes.iter().map(|node| self.topology.netns(node)).collect();
        let links = vec![self.topology.host_link()];
        // The records are what tells ours from another's of the same name.
        let made = if self.paths.run.exists() {
            [links.clone(), namespaces.clone()].concat()
        } else {
            Vec::new()
        };
        doctor::Intent {
            person: &self.person,
            paths: &self.paths,
            kernel: Some(self.kernel.choice()),
            installing,
            engine: doctor::Engine::Own,
            claims: doctor::Claims {
                subnet: self.topology.network(),
                links,
                namespaces,
                made,
            },
            needs: self.needs(),
        }
    }

    /// Where parts that don't run are going to listen.
    fn needs(&self) -> Vec<doctor::Need> {
        let parts = [
            part::consul::LISTENS,
            part::nomad::LISTENS,
            part::syncer::LISTENS,
        ];
        let away = |(part, _): &(&str, _)| self.records.living(part).is_none();
        let need = |(part, ports)| doctor::Need {
            part,
            ports,
            netns: self.topology.netns(Node::Node1.name()),
        };
        parts.into_iter().filter(away).map(need).collect()
    }

    pub fn docker_host(&self) -> String {
        format!("unix://{}", self.paths.run.join("docker.sock").display())
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
