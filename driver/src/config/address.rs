//! Where the engine is: the block's words first, then the variables that Docker's own clients know.
//!
//! TLS that somebody asked for is used or refused, and never left out.

use std::env;
use std::path::{Path, PathBuf};

use super::raw::TlsOptions;
use crate::engine::{Address, TlsFiles, TlsIdentity};

const DEFAULT_ENDPOINT: &str = "unix:///var/run/docker.sock";

/// Why TLS can't be had as it was asked for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsConfigError {
    #[error("{set} is set without {lacking}: a certificate and its key go together")]
    Half {
        set: &'static str,
        lacking: &'static str,
    },
    #[error("{option} {path:?} is no absolute path")]
    Relative { option: &'static str, path: String },
    #[error(
        "the block tls asks for TLS and the endpoint is {0}, which has none; use tcp://host:port or remove the block"
    )]
    Socket(String),
    #[error(
        "DOCKER_TLS_VERIFY is set without DOCKER_CERT_PATH, the folder of ca.pem, cert.pem and key.pem: nothing is sent in clear instead"
    )]
    NoFolder,
}

/// The variables of Docker's clients.
#[derive(Debug, Clone, Default)]
pub(super) struct Environment {
    pub(super) host: Option<String>,
    pub(super) tls_verify: bool,
    pub(super) cert_path: Option<PathBuf>,
}

impl Environment {
    pub(super) fn of_process() -> Self {
        let set = |name| env::var_os(name).filter(|value| !value.is_empty());
        Self {
            host: env::var("DOCKER_HOST").ok(),
            tls_verify: set("DOCKER_TLS_VERIFY").is_some(),
            cert_path: set("DOCKER_CERT_PATH").map(PathBuf::from),
        }
    }

    fn tls(&self) -> Result<Option<TlsFiles>, TlsConfigError> {
        match &self.cert_path {
            None if self.tls_verify => Err(TlsConfigError::NoFolder),
            None => Ok(None),
            Some(folder) => Ok(Some(TlsFiles {
                ca: Some(folder.join("ca.pem")),
                identity: Some(TlsIdentity {
                    cert: folder.join("cert.pem"),
                    key: folder.join("key.pem"),
                }),
            })),
        }
    }
}

pub(super) fn address(
    endpoint: String,
    tls: Option<&TlsOptions>,
    environment: Environment,
) -> Result<Address, TlsConfigError> {
    let from_block = tls.map(files).transpose()?.flatten();
    let from_environment = environment.tls();
    let endpoint = [endpoint, environment.host.unwrap_or_default()]
        .into_iter()
        .find(|endpoint| !endpoint.is_empty())
        .unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned());
    let tls = match (from_block, endpoint.starts_with("unix://")) {
        (Some(_), true) => return Err(TlsConfigError::Socket(endpoint)),
        (Some(files), false) => Some(files),
        // The variables are those of a person's own client: a socket has no use for them.
        (None, true) => None,
        (None, false) => from_environment?,
    };
    Ok(Address { endpoint, tls })
}

/// The agent sends a block in which nothing is set as one of empty strings: nobody asked for anything.
fn files(tls: &TlsOptions) -> Result<Option<TlsFiles>, TlsConfigError> {
    let path = |option, text: &str| match text {
        "" => Ok(None),
        text if Path::new(text).is_absolute() => Ok(Some(PathBuf::from(text))),
        text => Err(TlsConfigError::Relative {
            option,
            path: text.to_owned(),
        }),
    };
    let half = |set, lacking| Err(TlsConfigError::Half { set, lacking });
    let ca = path("tls.ca", &tls.ca)?;
    let identity = match (path("tls.cert", &tls.cert)?, path("tls.key", &tls.key)?) {
        (None, None) => None,
        (Some(cert), Some(key)) => Some(TlsIdentity { cert, key }),
        (Some(_), None) => return half("tls.cert", "tls.key"),
        (None, Some(_)) => return half("tls.key", "tls.cert"),
    };
    let any = ca.is_some() || identity.is_some();
    Ok(any.then_some(TlsFiles { ca, identity }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tls(cert: &str, key: &str, ca: &str) -> TlsOptions {
        TlsOptions {
            cert: cert.into(),
            key: key.into(),
            ca: ca.into(),
        }
    }

    fn environment(host: &str, tls_verify: bool, cert_path: Option<&str>) -> Environment {
        Environment {
            host: Some(host.into()),
            tls_verify,
            cert_path: cert_path.map(PathBuf::from),
        }
    }

    fn identity(cert: &str, key: &str) -> TlsIdentity {
        TlsIdentity {
            cert: cert.into(),
            key: key.into(),
        }
    }

    #[test]
    fn the_block_says_which_files_tls_needs() {
        let none = Environment::default;
        let files =
            |tls: TlsOptions| address("tcp://e:2376".into(), Some(&tls), none()).map(|it| it.tls);
        assert_eq!(files(tls("", "", "")), Ok(None));
        let ca_alone = TlsFiles {
            ca: Some("/ca".into()),
            identity: None,
        };
        assert_eq!(files(tls("", "", "/ca")), Ok(Some(ca_alone)));
        let identity_alone = TlsFiles {
            ca: None,
            identity: Some(identity("/cert", "/key")),
        };
        assert_eq!(files(tls("/cert", "/key", "")), Ok(Some(identity_alone)));
    }

    #[test]
    fn half_an_identity_a_relative_path_and_tls_over_a_socket_are_refused() {
        let refuse = |endpoint: &str, tls: TlsOptions| {
            let refusal = address(endpoint.into(), Some(&tls), Environment::default());
            refusal.unwrap_err().to_string()
        };
        let tcp = "tcp://e:2376";
        for (text, words) in [
            (
                refuse(tcp, tls("", "/key", "/ca")),
                "tls.key is set without tls.cert",
            ),
            (
                refuse(tcp, tls("/cert", "", "/ca")),
                "tls.cert is set without tls.key",
            ),
            (
                refuse(tcp, tls("", "", "ca.pem")),
                "tls.ca \"ca.pem\" is no absolute path",
            ),
            (
                refuse("unix:///a.sock", tls("", "", "/ca")),
                "unix:///a.sock, which has none",
            ),
            (
                refuse("", tls("", "", "/ca")),
                "unix:///var/run/docker.sock, which has none",
            ),
        ] {
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn dockers_variables_ask_for_tls_where_the_block_does_not() {
        let of = |endpoint: &str, environment| address(endpoint.into(), None, environment);
        let folder = TlsFiles {
            ca: Some("/certs/ca.pem".into()),
            identity: Some(identity("/certs/cert.pem", "/certs/key.pem")),
        };
        for (verify, endpoint) in [(true, ""), (false, ""), (true, "tcp://other:2376")] {
            let engine = of(
                endpoint,
                environment("tcp://e:2376", verify, Some("/certs")),
            )
            .unwrap();
            assert_eq!(engine.tls.as_ref(), Some(&folder), "{verify} {endpoint}");
        }
        let refusal = of("", environment("tcp://e:2376", true, None)).unwrap_err();
        assert_eq!(refusal, TlsConfigError::NoFolder);
        // What has nothing to do with the endpoint is no reason to refuse it.
        let socket = of("", environment("unix:///a.sock", true, None)).unwrap();
        assert_eq!(socket, Address::plain("unix:///a.sock"));
    }
}
