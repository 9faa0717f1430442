//! TLS towards the agents of Nomad and Consul: whom to believe, and what to show if they ask.
//!
//! The other side is always verified; there is no switch that turns it off.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;

use crate::credential::pem::{TlsError, certificates, private_key};

/// How to talk to an `https://` address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpsTls {
    /// Who signed the agents' certificates; `None`: whom this machine believes.
    pub ca_file: Option<PathBuf>,
    /// What we show to agents that want to know their clients.
    pub identity: Option<IdentityFiles>,
    /// The name in the agents' certificates, where it is not the host that they are reached by.
    pub server_name: Option<String>,
}

/// A certificate with its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityFiles {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

impl HttpsTls {
    /// The files that it reads.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let identity = self.identity.iter();
        let identity = identity.flat_map(|files| [&files.cert_file, &files.key_file]);
        self.ca_file.iter().chain(identity).map(PathBuf::as_path)
    }

    /// What a client needs, from the files as they are now.
    pub fn client(&self) -> Result<ClientConfig, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|source| self.unfit(source))?;
        let builder = match &self.ca_file {
            Some(path) => builder.with_root_certificates(roots(path)?),
            None => builder
                .with_platform_verifier()
                .map_err(|source| self.unfit(source))?,
        };
        let Some(IdentityFiles {
            cert_file,
            key_file,
        }) = &self.identity
        else {
            return Ok(builder.with_no_client_auth());
        };
        let (cert, _) = certificates("cert_file", cert_file)?;
        let (key, _) = private_key("key_file", key_file)?;
        builder
            .with_client_auth_cert(cert, key)
            .map_err(|source| self.unfit(source))
    }

    fn unfit(&self, source: rustls::Error) -> TlsError {
        let files: Vec<String> = self
            .files()
            .map(|file| file.display().to_string())
            .collect();
        let files = if files.is_empty() {
            "this machine's certificates".to_owned()
        } else {
            files.join(", ")
        };
        TlsError::Unfit {
            files,
            source: Box::new(source),
        }
    }
}

/// The settings of a client for addresses without TLS: it trusts no certificate, for it is shown none.
pub(super) fn no_tls() -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|source| HttpsTls::default().unfit(source))?;
    Ok(builder
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let (authorities, _) = certificates("ca_file", path)?;
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority).map_err(|source| TlsError::Unfit {
            files: path.display().to_string(),
            source: Box::new(source),
        })?;
    }
    Ok(roots)
}
