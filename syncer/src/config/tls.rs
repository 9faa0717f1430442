//! The certificates with which syncers know each other: where they are, and that they are usable.
//!
//! Each side shows a certificate and asks for one, signed by the same CA. They are read when the config is checked, and
//! again whenever they are used: by a node at each connect, by a director when it starts to listen.

use std::path::PathBuf;
use std::time::Duration;

use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig};

use crate::credential::pem::{TlsError, certificates, private_key};

/// How long a handshake may take: a connection that says nothing is not kept.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

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

impl Tls {
    /// Checks that the certificates are there and usable.
    pub fn check(&self) -> Result<(), TlsError> {
        self.client("localhost", Endpoint::from_static("https://localhost"))?;
        self.server(Server::builder()).map(drop)
    }

    /// Sets a connection to the director at that host up for TLS.
    pub fn client(&self, host: &str, endpoint: Endpoint) -> Result<Endpoint, TlsError> {
        let (ca, identity) = self.read()?;
        let tls = ClientTlsConfig::new()
            .ca_certificate(ca)
            .identity(identity)
            .domain_name(self.server_name.as_deref().unwrap_or(host))
            .timeout(HANDSHAKE_TIMEOUT);
        endpoint
            .tls_config(tls)
            .map_err(|source| self.unfit(source))
    }

    /// Sets up a listener that takes only connections with a certificate.
    pub fn server(&self, server: Server) -> Result<Server, TlsError> {
        let (ca, identity) = self.read()?;
        let tls = ServerTlsConfig::new()
            .client_ca_root(ca)
            .identity(identity)
            .timeout(HANDSHAKE_TIMEOUT);
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
        let (_, ca) = certificates("ca_file", &self.ca_file)?;
        let (_, cert) = certificates("cert_file", &self.cert_file)?;
        let (_, key) = private_key("key_file", &self.key_file)?;
        Ok((Certificate::from_pem(ca), Identity::from_pem(cert, key)))
    }
}
