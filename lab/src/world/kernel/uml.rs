//! A guest under User-mode Linux, on the fabric's tap, kept by a process of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::{COMMAND_LIMIT, Choice, Kernel};
use crate::guest::client::{self, Output};
use crate::guest::frame::Run;
use crate::guest::init::Settings;
use crate::guest::keeper::{self, Guest};
use crate::host::paths::{Paths, Person};
use crate::host::process::{Daemon, Identity, log_tail};
use crate::host::record::Records;
use crate::host::{netns, proc, wait};
use crate::supply::products;
use crate::world::fabric::{self, DirectorLink};
use crate::world::topology::{Node, Topology};

/// The keeper's part name.
const PART: &str = "director";

/// The director as a guest.
#[derive(Debug)]
pub struct Uml {
    guest: Guest,
    netns: String,
    description: PathBuf,
    person: Person,
    records: Records,
}

impl Uml {
    pub fn new(topology: &Topology, paths: &Paths, person: &Person) -> Self {
        let folder = paths.state.join("director");
        let guest = Guest {
            memory: 512,
            tap: Some(fabric::director_tap().to_owned()),
            settings: Settings {
                addresses: topology.addresses_of(Node::Director).to_vec(),
                folder: folder.display().to_string(),
            },
            log: paths.log("guest"),
            socket: paths.run.join("director.sock"),
        };
        Self {
            guest,
            netns: topology.fabric_netns(),
            description: folder.join("guest.json"),
            person: person.clone(),
            records: Records::of(paths, person),
        }
    }
}

impl Kernel for Uml {
    fn choice(&self) -> Choice {
        Choice::Uml
    }

    fn link(&self) -> DirectorLink {
        DirectorLink::Tap
    }

    fn is_up(&self) -> bool {
        // A guest that hangs would let everybody wait who asks it.
        self.records.living(PART).is_some()
            && client::answers(&self.guest.socket, Duration::from_secs(3))
    }

    fn up(&self) -> Result<()> {
        if self.is_up() {
            return Ok(());
        }
        self.person
            .make_dir(Path::new(&self.guest.settings.folder))?;
        if let Some(hung) = self.records.living(PART) {
            hung.stop(Duration::from_secs(1));
        }
        // A socket of a keeper that was killed would look like one that is ready.
        let _ = std::fs::remove_file(&self.guest.socket);
        end_leftovers(&self.netns);
        let text = serde_json::to_string(&self.guest).context("describe the guest")?;
        self.person.write(&self.description, &text)?;
        let keeper = Daemon {
            name: PART,
            program: &products::lab()?,
            args: vec![
                "internal".to_owned(),
                "keeper".to_owned(),
                self.description.display().to_string(),
            ],
            env: Vec::new(),
            netns: Some(self.netns.clone()),
            log: self.guest.log.clone(),
        };
        let identity = keeper.start()?;
        self.records.save(PART, &identity)?;
        wait::until(
            "boot the director",
            Duration::from_secs(30),
            || client::capture(&self.guest.socket, &["true"], COMMAND_LIMIT).map(drop),
            || {
                (!identity.is_alive())
                    .then(|| format!("the keeper ended; {}", log_tail(&self.guest.log, 8)))
            },
        )
    }

    fn attach(&self, argv: &[String]) -> Result<i32> {
        let run = Run {
            argv: argv.to_vec(),
            env: environment(),
            detached_log: None,
        };
        client::attach(&self.guest.socket, run)
    }

    fn capture_within(&self, argv: &[&str], limit: Duration) -> Result<Output> {
        client::capture(&self.guest.socket, argv, limit)
    }

    fn detach(&self, _name: &str, argv: &[&str], log: &Path) -> Result<i32> {
        client::detach(&self.guest.socket, argv, log)
    }

    fn runs(&self, pid: i32, program: &str) -> bool {
        let comm = format!("/proc/{pid}/comm");
        self.capture(&["cat", &comm])
            .is_ok_and(|output| output.stdout.trim() == program)
    }

    fn end(&self, pid: i32, program: &str) -> Result<()> {
        if self.runs(pid, program) {
            self.capture(&["kill", &pid.to_string()])?;
            wait::until(
                "end the program in the guest",
                Duration::from_secs(5),
                || {
                    anyhow::ensure!(!self.runs(pid, program), "{program} still runs");
                    Ok(())
                },
                || None,
            )?;
        }
        Ok(())
    }
}

/// A guest that was killed leaves helper processes behind, and they hold its tap.
fn end_leftovers(netns: &str) {
    let guests = netns::pids(netns)
        .into_iter()
        .filter(|&pid| proc::name(pid).as_deref() == Some(keeper::PROGRAM));
    for identity in guests.filter_map(Identity::of) {
        identity.signal(Signal::SIGKILL);
        identity.gone_within(Duration::from_secs(2));
    }
}

/// What a command in the guest gets from the person's shell.
fn environment() -> Vec<(String, String)> {
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned();
    let mut env = vec![("PATH".to_owned(), path)];
    env.extend(
        std::env::var("TERM")
            .ok()
            .map(|term| ("TERM".to_owned(), term)),
    );
    env.extend(
        std::env::vars()
            .filter(|(key, _)| key.starts_with("NOMAD_IPVS_") || key.starts_with("PROPTEST_")),
    );
    env
}
