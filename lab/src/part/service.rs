//! The life of a part that is one process on a node, the same for all: record, living process, start, ready.
//!
//! A part says what it is by [`Service`]; how it is started, recognised again and waited for is here. Not for the director's
//! syncer, which runs in a kernel of its own: see [`super::syncer`].

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use super::Up;
use crate::host::process::{Daemon, Identity, log_tail};
use crate::host::wait;
use crate::report::ui::Outcome;
use crate::world::context::Lab;
use crate::world::topology::Node;

/// How long a process may take to end before another takes its place.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Lines of its log that explain why it ended.
const LOG_LINES: usize = 12;

/// What is special about one part.
pub(super) trait Service {
    /// Its name in records and logs, on node1.
    const NAME: &'static str;

    /// How long it may take from its start until it is ready.
    const READY_TIMEOUT: Duration;

    /// Whether the process that runs is the wanted one. Another one is ended, and the wanted one takes its place.
    fn is_wanted(&self, _living: &Identity) -> bool {
        true
    }

    /// Writes what the process reads, and says how it is started.
    fn launch(&self) -> Result<Launch>;

    /// What there is to say about it once it may be relied on. An error says what it lacks so far.
    fn ready(&self) -> Result<String>;
}

/// How a process is started.
#[derive(Debug)]
pub(super) struct Launch {
    pub(super) program: PathBuf,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    /// Network namespace to start in; the machine's own when absent.
    pub(super) netns: Option<String>,
}

/// Starts the part unless it runs; returns when it is ready.
pub(super) fn up<S: Service>(lab: &Lab, node: Node, service: &S) -> Result<Up> {
    // One that was there may have been started, or woken, just now.
    let (process, outcome) = start(lab, node, service)?;
    let finding = wait_ready(lab, &lab.part_name(node, S::NAME), &process, service)?;
    Ok(Up { outcome, finding })
}

/// Starts the part unless it runs, and waits for nothing.
pub(super) fn start<S: Service>(lab: &Lab, node: Node, service: &S) -> Result<(Identity, Outcome)> {
    let name = lab.part_name(node, S::NAME);
    if let Some(process) = lab.records.living(&name) {
        if service.is_wanted(&process) {
            return Ok((process, Outcome::Already));
        }
        process.stop(STOP_TIMEOUT);
    }
    let launch = service.launch()?;
    let daemon = Daemon {
        name: &name,
        program: &launch.program,
        args: launch.args,
        env: launch.env,
        netns: launch.netns,
        log: lab.paths.log(&name),
    };
    let process = daemon.start()?;
    lab.records.save(&name, &process)?;
    Ok((process, Outcome::Ok))
}

fn wait_ready<S: Service>(
    lab: &Lab,
    name: &str,
    process: &Identity,
    service: &S,
) -> Result<String> {
    wait::until(
        &format!("wait for {name}"),
        S::READY_TIMEOUT,
        || service.ready(),
        || {
            let log = lab.paths.log(name);
            (!process.is_alive()).then(|| format!("it ended; {}", log_tail(&log, LOG_LINES)))
        },
    )
}
