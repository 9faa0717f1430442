//! A CA of a test's own.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::config::Tls;

pub(super) struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&key).unwrap();
        std::fs::write(folder.path().join("ca.pem"), ca.pem()).unwrap();
        let issuer = Issuer::new(params, key);
        Self { folder, issuer }
    }

    pub(super) fn ca_file(&self) -> PathBuf {
        self.file("ca.pem")
    }

    /// A certificate for whoever is at 127.0.0.1, or is the Nomad node that the test's allocation is on.
    pub(super) fn issue(&self, name: &str) -> Tls {
        self.issue_to(name, &["127.0.0.1", "node1"])
    }

    pub(super) fn issue_for(&self, name: &str, host: &str) -> Tls {
        self.issue_to(name, &[host])
    }

    fn issue_to(&self, name: &str, hosts: &[&str]) -> Tls {
        let key = KeyPair::generate().unwrap();
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let params = CertificateParams::new(hosts).unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let (cert_file, key_file) = (
            self.file(&format!("{name}.pem")),
            self.file(&format!("{name}.key")),
        );
        std::fs::write(&cert_file, cert.pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        Tls {
            ca_file: self.ca_file(),
            cert_file,
            key_file,
            server_name: None,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        Path::new(self.folder.path()).join(name)
    }
}
