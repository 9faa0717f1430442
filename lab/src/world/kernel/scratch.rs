//! A guest for one purpose, such as a test binary that needs IPVS: no fabric, gone when dropped.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use super::COMMAND_LIMIT;
use crate::guest::client::{self, Output};
use crate::guest::init::Settings;
use crate::guest::keeper::Guest;
use crate::host::paths::{Paths, Person};
use crate::host::process::{Daemon, Identity, log_tail};
use crate::host::wait;
use crate::supply::products;

/// How long a command in it may take: a binary's tests, or a whole lab that is brought up inside.
const RUN_LIMIT: Duration = Duration::from_mins(10);

/// How long it may take to power itself off.
const HALT_LIMIT: Duration = Duration::from_secs(5);

/// A running guest that nobody else knows of.
#[derive(Debug)]
pub struct Scratch {
    keeper: Identity,
    socket: PathBuf,
    folder: PathBuf,
}

impl Scratch {
    /// Boots one with so many MiB of memory; its folder and log are under the profile's state.
    pub fn boot(paths: &Paths, person: &Person, memory: u32) -> Result<Self> {
        let name = format!("guest-{}", std::process::id());
        let folder = paths.state.join(&name);
        paths.make(person)?;
        person.make_dir(&folder)?;
        let guest = Guest {
            memory,
            tap: None,
            settings: Settings {
                addresses: Vec::new(),
                folder: folder.display().to_string(),
            },
            log: folder.join("guest.log"),
            socket: paths.run.join(format!("{name}.sock")),
        };
        let description = folder.join("guest.json");
        person.write(
            &description,
            &serde_json::to_string(&guest).context("describe the guest")?,
        )?;
        let keeper = Daemon {
            name: &name,
            program: &products::lab()?,
            args: vec![
                "internal".to_owned(),
                "keeper".to_owned(),
                description.display().to_string(),
            ],
            env: Vec::new(),
            netns: None,
            log: guest.log.clone(),
        };
        let scratch = Self {
            keeper: keeper.start()?,
            socket: guest.socket,
            folder,
        };
        wait::until(
            "boot a guest",
            Duration::from_secs(30),
            || client::capture(&scratch.socket, &["true"], COMMAND_LIMIT).map(drop),
            || (!scratch.keeper.is_alive()).then(|| log_tail(&guest.log, 8)),
        )?;
        Ok(scratch)
    }

    /// The process that owns it.
    pub fn keeper(&self) -> &Identity {
        &self.keeper
    }

    /// Runs a command to its end, such as all tests of a binary.
    pub fn run(&self, argv: &[&str]) -> Result<Output> {
        client::capture(&self.socket, argv, RUN_LIMIT)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Orderly first: a guest that powers itself off leaves no helper process behind.
        let _ = client::capture(&self.socket, &["halt", "-f", "-p"], HALT_LIMIT);
        if !self.keeper.gone_within(Duration::from_secs(3)) {
            self.keeper.stop(Duration::from_secs(1));
        }
        let _ = std::fs::remove_file(&self.socket);
        let _ = std::fs::remove_dir_all(&self.folder);
        // The profile's folders go with the last that is in them.
        for inside in [&self.socket, &self.folder] {
            inside.parent().map(std::fs::remove_dir);
        }
    }
}
