//! Blows to the first node's processes: killed, stopped, hung. What is down is brought up again by `lab up`.

use std::time::Duration;

use lab::host::process::Identity;
use lab::part::nomad;
use lab::world::context::Lab;
use lab::world::topology::Node;
use nix::sys::signal::Signal;

use crate::story;

/// How long a process may take to end when it is asked to.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// Kills the plugin; returns when the agent has started another.
pub(crate) fn kill_plugin(lab: &Lab) {
    let before = nomad::plugins(lab, Node::Node1);
    assert!(!before.is_empty(), "no plugin runs");
    for plugin in &before {
        kill(plugin);
    }
    story::eventually("a new plugin", 30, || {
        let after = nomad::plugins(lab, Node::Node1);
        if after.iter().any(|plugin| !before.contains(plugin)) {
            Ok(())
        } else {
            Err("the agent has not started one".to_owned())
        }
    });
}

/// A part's process, for as long as it is what it is now.
pub(crate) fn process(lab: &Lab, part: &str) -> Identity {
    let living = lab.records.living(part);
    living.unwrap_or_else(|| panic!("{part} does not run"))
}

/// Ends a part in order, as its service manager would.
pub(crate) fn stop(lab: &Lab, part: &str) {
    ask_to_end(lab, part, Signal::SIGTERM);
}

/// Ends a part in order, as somebody at its terminal would.
pub(crate) fn interrupt(lab: &Lab, part: &str) {
    ask_to_end(lab, part, Signal::SIGINT);
}

fn ask_to_end(lab: &Lab, part: &str, signal: Signal) {
    let process = process(lab, part);
    process.signal(signal);
    assert!(process.gone_within(STOP_TIMEOUT), "{part} does not end");
}

pub(crate) fn kill(process: &Identity) {
    process.signal(Signal::SIGKILL);
    assert!(
        process.gone_within(STOP_TIMEOUT),
        "{process:?} does not die"
    );
}

/// Has Nomad forget allocations that are over, the agent included. An agent that starts kills, for each that it still knows, whoever has
/// the id of that one's log collector by now (`reattach` of go-plugin 1.4), and here ids come again within half a minute.
pub(crate) fn forget_ended(lab: &Lab) {
    story::nomad_ok(lab, &["system", "gc"]);
    let kept = lab.paths.state.join("node1/nomad/data/alloc");
    story::eventually("the agent has forgotten what is over", 30, || {
        let known = lab.nomad().allocations();
        let known = known.map_err(|error| format!("{error:#}"))?;
        let folders = std::fs::read_dir(&kept).map_err(|error| error.to_string())?;
        let ended = folders.flatten().find(|folder| {
            let name = folder.file_name();
            !known.iter().any(|one| *one.id == *name && !one.is_over())
        });
        ended.map_or(Ok(()), |ended| {
            Err(format!("{} is there", ended.path().display()))
        })
    });
}

/// Starts the agent again, and waits for nothing. The node is registered up to half a minute later, for a server that is being
/// elected may refuse it once; its tasks' logs go on before.
pub(crate) fn start_agent(lab: &Lab) {
    let nomad = lab.decisions().unwrap().nomad;
    nomad::start(lab, &nomad, &story::product("docker-ipvs")).unwrap();
}

/// Brings up what is down, with our driver.
pub(crate) fn mend() {
    mend_with("ours");
}

/// Brings up what is down, with this driver.
pub(crate) fn mend_with(driver: &str) {
    let args = ["up", "--no-build", "--no-job", "--driver", driver];
    let output = story::lab(story::profile(), &args);
    assert!(output.status.success(), "{}", story::text(&output));
}

/// Where a story fails half-way, the next ones find the lab whole all the same.
pub(crate) struct Whole;

impl Drop for Whole {
    fn drop(&mut self) {
        if std::thread::panicking() {
            story::lab(story::profile(), &["up", "--no-build", "--no-job"]);
        }
    }
}

/// A part's process that does not run until this is dropped.
pub(crate) struct Hung(Identity);

impl Hung {
    pub(crate) fn new(lab: &Lab, part: &str) -> Self {
        let process = process(lab, part);
        process.signal(Signal::SIGSTOP);
        Self(process)
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        self.0.signal(Signal::SIGCONT);
    }
}
