//! TLS towards an engine behind TCP: the files that the operator named are read again when they change.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::Uri;
use nomad_driver_sdk::error::chain;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::warn;

use crate::engine::EngineError;
use crate::engine::address::{TlsFiles, TlsIdentity};
use crate::small_file;

const FILE_SIZE_MAX: u64 = 1024 * 1024;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The permission bits that let others than the owner read a file.
const READABLE_BY_OTHERS: u32 = 0o044;

/// Why the files can't be used.
#[derive(Debug, thiserror::Error)]
enum TlsError {
    #[error("{option} {}: cannot be read", path.display())]
    Unreadable {
        option: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{option} {}: {expected} in PEM (-----BEGIN …) is wanted", path.display())]
    NotPem {
        option: &'static str,
        path: PathBuf,
        expected: &'static str,
    },
    #[error("{files}: unusable together")]
    Unfit {
        files: String,
        source: Box<rustls::Error>,
    },
}

/// The way to make a TCP connection one with TLS.
#[derive(Debug)]
pub(super) struct Tls {
    files: TlsFiles,
    host: ServerName<'static>,
    current: Mutex<Client>,
}

/// Made of the files as they were.
#[derive(Clone)]
struct Client {
    stamps: Vec<Option<Stamp>>,
    client: Arc<ClientConfig>,
}

/// The facts that tell two states of a file apart without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    ctime: (i64, i64),
}

impl Tls {
    /// Reads the files, so that a configuration with bad ones is refused.
    pub(super) fn new(files: TlsFiles, endpoint: &str, uri: &Uri) -> Result<Self, EngineError> {
        let refusal = |reason| EngineError::Endpoint {
            endpoint: endpoint.to_owned(),
            reason,
        };
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let host = ServerName::try_from(host.to_owned())
            .map_err(|_| refusal(format!("{host:?} can't be a name in a certificate")))?;
        warn_of_open_key(&files);
        let current = files.read().map_err(|error| refusal(chain(&error)))?;
        Ok(Self {
            files,
            host,
            current: Mutex::new(current),
        })
    }

    pub(super) async fn wrap(
        self: &Arc<Self>,
        stream: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let tls = Arc::clone(self);
        // A path of the operator's may still lie on a slow file system.
        let client = tokio::task::spawn_blocking(move || tls.client()).await;
        let client = client.map_err(io::Error::other)?;
        let client = client.map_err(|error| io::Error::other(chain(&error)))?;
        let handshake = TlsConnector::from(client).connect(self.host.clone(), stream);
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok(outcome) => outcome.map_err(|error| self.explain(&error)),
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no TLS handshake within {} s", HANDSHAKE_TIMEOUT.as_secs()),
            )),
        }
    }

    /// The cause in words that say where to look, if TLS is the cause.
    pub(super) fn explain(&self, error: &(dyn std::error::Error + 'static)) -> io::Error {
        let advice = match cause(error) {
            Some(rustls::Error::InvalidCertificate(_)) => match &self.files.ca {
                Some(ca) => format!("; tls.ca {} decides whom to believe", ca.display()),
                None => {
                    "; without tls.ca this machine's authorities decide whom to believe".to_owned()
                }
            },
            Some(rustls::Error::AlertReceived(_)) => match &self.files.identity {
                Some(TlsIdentity { cert, .. }) => {
                    format!("; the engine does not take tls.cert {}", cert.display())
                }
                None => "; does the engine want a certificate (tls.cert, tls.key)?".to_owned(),
            },
            Some(rustls::Error::InvalidMessage(_)) => "; is there TLS at that port?".to_owned(),
            _ => String::new(),
        };
        io::Error::other(format!("TLS: {}{advice}", chain(error)))
    }

    fn client(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let stamps = self.files.stamps();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.stamps != stamps {
            *current = self.files.read()?;
        }
        Ok(Arc::clone(&current.client))
    }
}

/// The first error of rustls among the causes.
pub(super) fn cause<'a>(
    mut error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a rustls::Error> {
    loop {
        if let Some(error) = error.downcast_ref() {
            return Some(error);
        }
        // An I/O error does not count what it carries among its causes.
        error = match error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(inner) => inner,
            None => error.source()?,
        };
    }
}

impl TlsFiles {
    fn paths(&self) -> impl Iterator<Item = &Path> {
        let identity = self.identity.iter();
        let identity = identity.flat_map(|TlsIdentity { cert, key }| [cert, key]);
        self.ca.iter().chain(identity).map(PathBuf::as_path)
    }

    fn stamps(&self) -> Vec<Option<Stamp>> {
        self.paths().map(|path| Stamp::of(path).ok()).collect()
    }

    fn read(&self) -> Result<Client, TlsError> {
        // Stamps first: what changes meanwhile differs from them.
        let stamps = self.stamps();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|source| self.unfit(source))?;
        let builder = match &self.ca {
            Some(path) => builder.with_root_certificates(roots(path)?),
            None => builder
                .with_platform_verifier()
                .map_err(|source| self.unfit(source))?,
        };
        let client = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(TlsIdentity { cert, key }) => {
                let cert = decode("tls.cert", cert, "certificates", certificates)?;
                let key = decode("tls.key", key, "a private key", |pem| {
                    PrivateKeyDer::from_pem_slice(pem).ok()
                })?;
                builder
                    .with_client_auth_cert(cert, key)
                    .map_err(|source| self.unfit(source))?
            }
        };
        Ok(Client {
            stamps,
            client: Arc::new(client),
        })
    }

    fn unfit(&self, source: rustls::Error) -> TlsError {
        let files: Vec<_> = self
            .paths()
            .map(|path| path.display().to_string())
            .collect();
        let files = if files.is_empty() {
            "this machine's authorities".to_owned()
        } else {
            files.join(", ")
        };
        TlsError::Unfit {
            files,
            source: Box::new(source),
        }
    }
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        let file = fs::metadata(path)?;
        Ok(Self {
            inode: file.ino(),
            size: file.size(),
            ctime: (file.ctime(), file.ctime_nsec()),
        })
    }
}

impl std::fmt::Debug for Client {
    /// Without the client, which holds the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Current").finish_non_exhaustive()
    }
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in decode("tls.ca", path, "certificates", certificates)? {
        roots.add(authority).map_err(|source| TlsError::Unfit {
            files: format!("tls.ca {}", path.display()),
            source: Box::new(source),
        })?;
    }
    Ok(roots)
}

/// At least one certificate, and each whole.
fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    certificates
        .ok()
        .filter(|certificates| !certificates.is_empty())
}

fn decode<T>(
    option: &'static str,
    path: &Path,
    expected: &'static str,
    decode: impl FnOnce(&[u8]) -> Option<T>,
) -> Result<T, TlsError> {
    let path = path.to_owned();
    match small_file::read(&path, FILE_SIZE_MAX) {
        Ok(pem) => decode(&pem).ok_or(TlsError::NotPem {
            option,
            path,
            expected,
        }),
        Err(source) => Err(TlsError::Unreadable {
            option,
            path,
            source,
        }),
    }
}

fn warn_of_open_key(files: &TlsFiles) {
    let key = files.identity.as_ref().map(|identity| &identity.key);
    let mode = key.and_then(|key| Some((key, fs::metadata(key).ok()?.mode())));
    if let Some((key, mode)) = mode
        && mode & READABLE_BY_OTHERS != 0
    {
        warn!(key = %key.display(), "others than its owner may read this key of TLS to the engine");
    }
}
