//! Where an engine is, and the files that a connection with TLS needs.

use std::path::PathBuf;

/// An endpoint, and TLS unless the connection is to be a plain one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// `unix:///path`, `tcp://host:port`, `http://host:port` or `https://host:port`.
    pub endpoint: String,
    pub tls: Option<TlsFiles>,
}

/// Both sides are always verified; there is no switch that turns it off.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authority that signed the engine's certificate; `None`: those that this machine believes.
    pub ca: Option<PathBuf>,
    /// The driver's certificate, if the engine asks for one.
    pub identity: Option<TlsIdentity>,
}

/// A certificate with its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsIdentity {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Address {
    /// Without TLS.
    pub fn plain(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            tls: None,
        }
    }
}
