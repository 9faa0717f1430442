//! The certificates with which syncers know each other: where they are, and that they are usable. [`https`] is about those
//! of Nomad's and Consul's agents.
//!
//! Each side shows a certificate and asks for one, signed by the same CA. They are read when the config is checked, and
//! again whenever they are used: by a node at each connect, by a director when it starts to listen.

mod https;

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig};

pub use https::{HttpsTls, IdentityFiles, no_tls};

use super::file;
use https::certificates;

/// For a handshake: a connection that says nothing is not kept.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Where the certificates are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Who signed the other side's certificate.
    pub ca_file: PathBuf,
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
    /// The name in the directors' certificates, where it is not the host that they are reached by.
    pub server_name: Option<String>,
}

/// Why they can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{key} {}: cannot be read", path.display())]
    Unreadable {
        key: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{key} {}: expected {expected} in PEM (-----BEGIN …)", path.display())]
    NotPem {
        key: &'static str,
        path: PathBuf,
        expected: &'static str,
    },
    #[error("{files}: unusable together")]
    Unfit {
        files: String,
        source: Box<dyn Error + Send + Sync>,
    },
}

impl Tls {
    /// Whether they are there and of use.
    pub fn check(&self) -> Result<(), TlsError> {
        self.client("localhost", Endpoint::from_static("https://localhost"))?;
        self.server(Server::builder()).map(drop)
    }

    /// For a connection to the director at that host.
    pub fn client(&self, host: &str, endpoint: Endpoint) -> Result<Endpoint, TlsError> {
        let (ca, identity) = self.read()?;
        let tls = ClientTlsConfig::new()
            .ca_certificate(ca)
            .identity(identity)
            .domain_name(self.server_name.as_deref().unwrap_or(host))
            .timeout(HANDSHAKE);
        endpoint
            .tls_config(tls)
            .map_err(|source| self.unfit(source))
    }

    /// For a listener that takes only connections with a certificate.
    pub fn server(&self, server: Server) -> Result<Server, TlsError> {
        let (ca, identity) = self.read()?;
        let tls = ServerTlsConfig::new()
            .client_ca_root(ca)
            .identity(identity)
            .timeout(HANDSHAKE);
        server.tls_config(tls).map_err(|source| self.unfit(source))
    }

    fn unfit(&self, source: tonic::transport::Error) -> TlsError {
        let [ca, cert, key] =
            [&self.ca_file, &self.cert_file, &self.key_file].map(|file| file.display());
        TlsError::Unfit {
            files: format!("{ca}, {cert} and {key}"),
            source: Box::new(source),
        }
    }

    fn read(&self) -> Result<(Certificate, Identity), TlsError> {
        let certificates = |pem: &[u8]| certificates(pem).map(|_| pem.to_vec());
        let ca = read("ca_file", &self.ca_file, "certificates", certificates)?;
        let cert = read("cert_file", &self.cert_file, "certificates", certificates)?;
        let key = read("key_file", &self.key_file, "a private key", |pem| {
            PrivateKeyDer::from_pem_slice(pem)
                .ok()
                .map(|_| pem.to_vec())
        })?;
        Ok((Certificate::from_pem(ca), Identity::from_pem(cert, key)))
    }
}

fn read<T>(
    key: &'static str,
    path: &Path,
    expected: &'static str,
    decode: impl Fn(&[u8]) -> Option<T>,
) -> Result<T, TlsError> {
    let path = path.to_owned();
    match file::read(&path) {
        Ok(pem) => decode(&pem).ok_or(TlsError::NotPem {
            key,
            path,
            expected,
        }),
        Err(source) => Err(TlsError::Unreadable { key, path, source }),
    }
}
