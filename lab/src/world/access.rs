//! What opens the lab's agents: tokens for their APIs and keys for their gossip, made once a profile.
//!
//! They are in one file that is readable by the person alone, and in the agents' own settings, which are closed too. They
//! are handed on in the environment and in headers, never as a program's arguments, which every account can see.
//! Why a lab has them: `docs/decisions/0010-a-lab-is-its-persons-own.md`.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::world::context::Lab;

/// A value that no log, error or debug output shows.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

/// A profile's tokens and keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Consul's token with all rights.
    pub consul: Secret,
    /// Nomad's token with all rights.
    pub nomad: Secret,
    /// Key of the gossip among Consul's agents.
    pub consul_gossip: Secret,
    /// Key of the gossip among Nomad's servers.
    pub nomad_gossip: Secret,
}

impl Access {
    /// What the profile has.
    ///
    /// # Errors
    /// There is none: `up` makes it.
    pub fn of(lab: &Lab) -> Result<Self> {
        let file = file(lab);
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("read {} (`cargo lab up` makes it)", file.display()))?;
        // The parser's own words would quote what is in the file.
        serde_json::from_str(&text)
            .ok()
            .with_context(|| format!("{} is not what `cargo lab up` wrote", file.display()))
    }

    /// The same, made where there is none.
    pub fn ensure(lab: &Lab) -> Result<Self> {
        if file(lab).exists() {
            return Self::of(lab);
        }
        let made = Self {
            consul: Secret::token(),
            nomad: Secret::token(),
            consul_gossip: Secret::key(),
            nomad_gossip: Secret::key(),
        };
        let text = serde_json::to_string_pretty(&made).context("write the lab's tokens")?;
        lab.person.write_secret(&file(lab), &text)?;
        Ok(made)
    }
}

impl Secret {
    /// In the form that both agents want.
    fn token() -> Self {
        Self(Uuid::new_v4().to_string())
    }

    /// 32 bytes, of which the system's random numbers are 244 bits.
    fn key() -> Self {
        let halves = [Uuid::new_v4(), Uuid::new_v4()].map(Uuid::into_bytes);
        Self(STANDARD.encode(halves.concat()))
    }

    /// The value, for whoever has to have it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

fn file(lab: &Lab) -> PathBuf {
    lab.paths.state.join("access.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_new_each_time_and_shows_itself_to_nobody_who_did_not_ask() {
        assert_ne!(Secret::token(), Secret::token());
        let key = Secret::key();
        assert_eq!(STANDARD.decode(key.reveal()).unwrap().len(), 32);
        assert_eq!(format!("{key:?}"), "…");
    }
}
