//! The config file: HCL in, a validated [`Config`] out. Nothing later checks again.
//!
//! `read` turns text into blocks and attributes and points at what is wrong by line and column; `schema` knows the
//! keys. All problems of a file are reported at once, and nothing is started when there is one. Certificates that a good
//! file names are looked at too.

mod api;
mod hints;
mod read;
mod schema;
mod service;
mod tls;
mod value;
mod warning;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use hints::{Hints, HostPort, Relay};
pub use tls::Tls;

use ipnet::IpNet;
use syncer_core::model::policy::{Ownership, Policy, ServiceBlock};
use syncer_core::plan::AddressKeeper;

use crate::credential;
use crate::credential::pem::TlsError;
use crate::credential::token::TokenError;
use crate::http::{Address, Api};

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
pub struct DirectorConfig {
    /// VIPs are added here.
    pub interface: String,
    pub ownership: Ownership,
    pub addresses: AddressKeeper,
    pub snat_backend: SnatBackend,
    pub drain_deadline: Duration,
    pub audit_interval: Duration,
    /// The share that may vanish at once, in percent.
    pub shrink_guard: u8,
    pub services: BTreeMap<Arc<str>, ServiceBlock>,
}

impl DirectorConfig {
    /// Gives what the pure core needs of the config.
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
pub struct RegistrarConfig {
    /// Name or id of the Nomad node; `None`: that of the agent behind the Nomad address.
    pub node: Option<String>,
    pub check_interval: Duration,
}

/// The role of a node whose instances answer clients themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RealServerConfig {
    /// Directors' packets come in here.
    pub interface: String,
    /// VIPs that this node takes packets to, whatever directors offer.
    pub own: Vec<IpNet>,
    /// Whether host ports lead to containers without the engine.
    pub host_ports: bool,
}

/// A whole config, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub log_level: String,
    pub state_dir: PathBuf,
    pub consul: Api,
    pub nomad: Option<Api>,
    pub status: Option<SocketAddr>,
    pub director: Option<DirectorConfig>,
    pub registrar: Option<RegistrarConfig>,
    pub real_server: Option<RealServerConfig>,
    pub hints: Option<Hints>,
    /// What the config allows and an operator should know of.
    pub warnings: Vec<String>,
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
    #[error("{}: {block}", path.display())]
    Certificates {
        path: PathBuf,
        block: &'static str,
        source: TlsError,
    },
    #[error("{}: {block}", path.display())]
    Token {
        path: PathBuf,
        block: &'static str,
        source: TokenError,
    },
}

fn listed(path: &Path, problems: &[Problem]) -> String {
    let one = |p: &Problem| format!("{}:{}:{}: {}", path.display(), p.line, p.column, p.message);
    problems.iter().map(one).collect::<Vec<_>>().join("\n")
}

/// Reads and checks a file.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let text = read_text(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let mut config = parse(&text).map_err(|problems| ConfigError::Wrong {
        path: path.to_owned(),
        problems,
    })?;
    look(path, &config)?;
    config.warnings = warning::warnings(&config, path);
    Ok(config)
}

/// Reads any kind of file, for a config may come through a pipe.
fn read_text(path: &Path) -> std::io::Result<String> {
    let bytes = credential::read_bounded(std::fs::File::open(path)?)?;
    String::from_utf8(bytes)
        .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error))
}

/// Looks at the files that a good config names.
fn look(path: &Path, config: &Config) -> Result<(), ConfigError> {
    let unusable = |block| {
        move |source| ConfigError::Certificates {
            path: path.to_owned(),
            block,
            source,
        }
    };
    if let Some(tls) = config.hints.as_ref().and_then(|hints| hints.tls.as_ref()) {
        tls.check().map_err(unusable("hints.tls"))?;
    }
    let apis = [
        ("consul", "consul.tls", Some(&config.consul)),
        ("nomad", "nomad.tls", config.nomad.as_ref()),
    ];
    for (block, tls_block, api) in apis {
        let Some(api) = api else { continue };
        if matches!(api.address, Address::Https(_)) {
            api.tls.client().map_err(unusable(tls_block))?;
        }
        if let Some(token) = &api.token {
            token.read().map_err(|source| ConfigError::Token {
                path: path.to_owned(),
                block,
                source,
            })?;
        }
    }
    Ok(())
}

/// Checks a text; looks at no other file, but for what `file("…")` names.
pub fn parse(text: &str) -> Result<Config, Vec<Problem>> {
    schema::config(text)
}

#[cfg(test)]
mod tests;
