//! What the lab has started, on disk, so that the next command knows it again.
//!
//! One file a part below `parts/`. A record says which process, never how it is: that is asked of the process.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::paths::{Paths, Person};
use crate::process::Identity;

/// The records of a profile.
#[derive(Debug, Clone)]
pub struct Records {
    folder: PathBuf,
    person: Person,
}

impl Records {
    pub fn of(paths: &Paths, person: &Person) -> Self {
        Self {
            folder: paths.state.join("parts"),
            person: person.clone(),
        }
    }

    pub fn save(&self, part: &str, identity: &Identity) -> Result<()> {
        self.person.make_dir(&self.folder)?;
        let text = serde_json::to_string(identity).context("write a record")?;
        self.person
            .write(&self.folder.join(format!("{part}.json")), &text)
    }

    /// The part's process, if it lives. A record that can't be read counts as none: the sweep finds what it meant.
    pub fn living(&self, part: &str) -> Option<Identity> {
        let text = fs::read_to_string(self.folder.join(format!("{part}.json"))).ok()?;
        serde_json::from_str::<Identity>(&text)
            .ok()
            .filter(Identity::is_alive)
    }

    /// Every part that was ever started, with its process if it lives.
    pub fn all(&self) -> Vec<(String, Option<Identity>)> {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return Vec::new();
        };
        let mut parts: Vec<_> = entries
            .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned()))
            .map(|part| (part.clone(), self.living(&part)))
            .collect();
        parts.sort_by(|a, b| a.0.cmp(&b.0));
        parts
    }
}
