//! Can this machine run the lab? Asked before anything is changed.
//!
//! Runs alone (`lab doctor`) and as the first step of `up`. Every question is put to the real thing, such as
//! the kernel in a throw-away network namespace, and answered by one [`Finding`] with a remedy. Probing lives
//! in the modules below; what is said about it in [`Report`]. Not for repairing: what `up` does by itself,
//! installing packages above all, is a warning here.

use crate::host::paths::{Paths, Person};
use crate::supply::agents::{self, Agent};
use crate::supply::packages::Plans;
use crate::world::kernel::Choice as Kernel;

mod engine;
mod finding;
mod kernel;
mod machine;
mod network;
mod ports;
mod software;

pub use engine::Engine;
pub use finding::{Finding, Report, State};
pub use network::Claims;
pub use ports::Need;

/// Whether `up` may install packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installing {
    Allowed,
    Forbidden,
}

/// What is going to be done, and therefore has to be possible.
#[derive(Debug, Clone)]
pub struct Intent<'a> {
    pub person: &'a Person,
    pub paths: &'a Paths,
    /// Which kernel the person asked for, if any.
    pub kernel: Option<Kernel>,
    pub installing: Installing,
    pub engine: Engine,
    pub claims: Claims,
    pub needs: Vec<Need>,
}

/// What was found, and the choices that follow from it.
#[derive(Debug)]
pub struct Diagnosis {
    pub report: Report,
    /// Where IPVS will run; `None` if nowhere.
    pub kernel: Option<Kernel>,
    /// What has to be installed and built.
    pub plans: Plans,
}

/// Looks at everything. Changes nothing: what it makes, it makes in namespaces that end with it.
pub fn examine(intent: &Intent<'_>) -> Diagnosis {
    let mut findings = machine::rights();
    let (kernel, finding) = kernel::ipvs(intent.kernel);
    findings.push(finding);
    findings.extend(kernel::features(kernel));
    findings.extend(machine::resources(intent));
    let at_hand =
        Agent::ALL.map(|agent| agents::at_hand(agent, intent.person, &intent.paths.cache));
    let plans = Plans {
        boots_uml: kernel == Some(Kernel::Uml),
        builds_agents: at_hand.iter().any(Option::is_none),
        runs_tests: false,
    };
    findings.push(software::packages(plans, intent.installing));
    findings.push(software::agents(&at_hand));
    if plans.builds_agents {
        findings.push(software::go(intent.person));
    }
    findings.push(engine::docker(&intent.engine));
    findings.extend(network::clashes(&intent.claims));
    findings.push(ports::taken(&intent.needs));
    Diagnosis {
        report: Report { findings },
        kernel,
        plans,
    }
}
