//! The config file: HCL in, a validated [`Config`] out. Nothing later checks again.
//!
//! `read` turns text into blocks and attributes and points at what is wrong by line and column; `schema` knows the
//! keys. All problems of a file are reported at once, and nothing is started when there is one. Certificates that a good
//! file names are looked at too.

mod hints;
mod read;
mod schema;
mod tls;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use hints::{Hints, HostPort, Relay};
pub use tls::{Tls, TlsError};

use crate::model::policy::{Ownership, Policy, VipPolicy};

/// An HTTP API with its token.
#[derive(Clone, PartialEq, Eq)]
pub struct Api {
    /// Without a slash at its end.
    pub address: String,
    pub token: Option<String>,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.as_ref().map(|_| "…");
        f.debug_struct("Api")
            .field("address", &self.address)
            .field("token", &token)
            .finish()
    }
}

/// How to rewrite clients' addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnatBackend {
    /// Whichever the kernel accepts, nftables first.
    Auto,
    Nftables,
    Iptables,
}

/// The director role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Director {
    /// VIPs are added here.
    pub interface: String,
    pub ownership: Ownership,
    pub snat_backend: SnatBackend,
    pub drain_deadline: Duration,
    pub audit_interval: Duration,
    /// In percent.
    pub shrink_guard: u8,
    pub services: BTreeMap<Arc<str>, VipPolicy>,
}

impl Director {
    /// What the pure core needs of it.
    pub fn policy(&self) -> Policy {
        Policy {
            services: self.services.clone(),
            ownership: self.ownership.clone(),
            drain: self.drain_deadline,
            shrink_percent: self.shrink_guard,
        }
    }
}

/// The registrar role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registrar {
    /// Name or id of the Nomad node; `None`: that of the agent behind the Nomad address.
    pub node: Option<String>,
    pub check_interval: Duration,
}

/// Everything, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub log_level: String,
    pub state_dir: PathBuf,
    pub consul: Api,
    pub nomad: Option<Api>,
    pub status: Option<SocketAddr>,
    pub director: Option<Director>,
    pub registrar: Option<Registrar>,
    pub hints: Option<Hints>,
}

/// One thing wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub line: usize,
    pub column: usize,
    pub message: String,
}

/// Why a config file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{}: cannot be read", path.display())]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{}", listed(path, problems))]
    Wrong {
        path: PathBuf,
        problems: Vec<Problem>,
    },
    #[error("{}: hints.tls", path.display())]
    Certificates { path: PathBuf, source: TlsError },
}

fn listed(path: &Path, problems: &[Problem]) -> String {
    let one = |p: &Problem| format!("{}:{}:{}: {}", path.display(), p.line, p.column, p.message);
    problems.iter().map(one).collect::<Vec<_>>().join("\n")
}

/// Reads and checks a file.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let config = parse(&text).map_err(|problems| ConfigError::Wrong {
        path: path.to_owned(),
        problems,
    })?;
    if let Some(tls) = config.hints.as_ref().and_then(|hints| hints.tls.as_ref()) {
        tls.check().map_err(|source| ConfigError::Certificates {
            path: path.to_owned(),
            source,
        })?;
    }
    Ok(config)
}

/// Checks a text; looks at no other file.
pub fn parse(text: &str) -> Result<Config, Vec<Problem>> {
    schema::config(text)
}

#[cfg(test)]
mod tests;
