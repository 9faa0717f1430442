//! Certificates and private keys in PEM, and why they can't be used.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Why certificates or a key can't be used.
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

/// Reads a file of at least one certificate, and each whole. `key` is the config's word for the file.
pub(crate) fn certificates(
    key: &'static str,
    path: &Path,
) -> Result<(Vec<CertificateDer<'static>>, Vec<u8>), TlsError> {
    read(key, path, "certificates", |pem| {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        certificates.ok().filter(|found| !found.is_empty())
    })
}

/// Reads a file with a private key.
pub(crate) fn private_key(
    key: &'static str,
    path: &Path,
) -> Result<(PrivateKeyDer<'static>, Vec<u8>), TlsError> {
    read(key, path, "a private key", |pem| {
        PrivateKeyDer::from_pem_slice(pem).ok()
    })
}

/// What is in the file, and the file's bytes, for libraries differ in which of them they take.
fn read<T>(
    key: &'static str,
    path: &Path,
    expected: &'static str,
    decode: impl Fn(&[u8]) -> Option<T>,
) -> Result<(T, Vec<u8>), TlsError> {
    let path = path.to_owned();
    match super::read(&path) {
        Ok(pem) => match decode(&pem) {
            Some(decoded) => Ok((decoded, pem)),
            None => Err(TlsError::NotPem {
                key,
                path,
                expected,
            }),
        },
        Err(source) => Err(TlsError::Unreadable { key, path, source }),
    }
}
