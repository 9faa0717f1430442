//! go-plugin's handshake: who started us, and the one line on stdout that tells it where to dial.
//!
//! Runs before the runtime, the log and the socket exist. Source: go-plugin's `server.go` and Nomad's `plugins/base/plugin.go`.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const COOKIE_NAME: &str = "NOMAD_PLUGIN_MAGIC_COOKIE";
const COOKIE: &str = "e4327c2e01eabfd75a8a67adb114fb34a757d57eee7728d857a8cec6e91a7255";
/// Version of go-plugin's own protocol.
const CORE_PROTOCOL: u32 = 1;
/// Version of Nomad's use of it.
const APP_PROTOCOL: u32 = 2;

/// What the agent said in the environment, checked.
#[derive(Debug)]
pub struct Handshake {
    pub(crate) socket_dir: PathBuf,
    pub(crate) socket_group: Option<String>,
}

/// Why this process can't be a plugin. The text is for whoever typed the command.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    #[error(
        "this program is a Nomad task driver: it is started by a Nomad agent, not by hand. \
         Put it into the agent's plugin_dir, add a `plugin` block with its file name to the agent's configuration, and restart the agent"
    )]
    NotStartedByNomad,
    #[error(
        "the agent offers plugin protocol versions {versions:?}, this driver speaks {APP_PROTOCOL}"
    )]
    ProtocolVersion { versions: String },
    #[error(
        "the agent asks for TLS between itself and the plugin (PLUGIN_CLIENT_CERT), which this driver does not speak"
    )]
    Tls,
}

impl Handshake {
    /// Reads the environment that go-plugin sets.
    pub fn from_env() -> Result<Self, HandshakeError> {
        Self::from_lookup(|name| env::var_os(name))
    }

    fn from_lookup(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Self, HandshakeError> {
        if lookup(COOKIE_NAME).is_none_or(|cookie| cookie != COOKIE) {
            return Err(HandshakeError::NotStartedByNomad);
        }
        if let Some(versions) = lookup("PLUGIN_PROTOCOL_VERSIONS") {
            let versions = versions.to_string_lossy().into_owned();
            if !versions
                .split(',')
                .any(|version| version.trim().parse() == Ok(APP_PROTOCOL))
            {
                return Err(HandshakeError::ProtocolVersion { versions });
            }
        }
        if lookup("PLUGIN_CLIENT_CERT").is_some_and(|certificate| !certificate.is_empty()) {
            return Err(HandshakeError::Tls);
        }
        let text = |name| lookup(name).filter(|value| !value.is_empty());
        Ok(Self {
            socket_dir: text("PLUGIN_UNIX_SOCKET_DIR").map_or_else(env::temp_dir, PathBuf::from),
            socket_group: text("PLUGIN_UNIX_SOCKET_GROUP")
                .and_then(|group| group.into_string().ok()),
        })
    }
}

/// Tells the agent where to dial. Nothing else is ever written to stdout.
pub(crate) fn announce(socket: &Path) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(
        stdout,
        "{CORE_PROTOCOL}|{APP_PROTOCOL}|unix|{}|grpc|",
        socket.display()
    )?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Result<Handshake, HandshakeError> {
        Handshake::from_lookup(|name| {
            pairs
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn a_missing_or_wrong_cookie_is_a_sentence_for_people() {
        for pairs in [&[][..], &[(COOKIE_NAME, "1234")]] {
            let refusal = environment(pairs).unwrap_err();
            assert!(
                refusal.to_string().contains("started by a Nomad agent"),
                "{refusal}"
            );
        }
    }

    #[test]
    fn one_of_several_offered_versions_is_enough() {
        assert!(environment(&[(COOKIE_NAME, COOKIE), ("PLUGIN_PROTOCOL_VERSIONS", "1,2")]).is_ok());
        assert!(environment(&[(COOKIE_NAME, COOKIE), ("PLUGIN_PROTOCOL_VERSIONS", "3")]).is_err());
    }

    #[test]
    fn an_agent_that_wants_tls_is_refused() {
        let refusal = environment(&[(COOKIE_NAME, COOKIE), ("PLUGIN_CLIENT_CERT", "-----BEGIN")]);
        assert!(matches!(refusal, Err(HandshakeError::Tls)));
    }

    #[test]
    fn the_socket_directory_of_the_agent_is_honoured() {
        let handshake =
            environment(&[(COOKIE_NAME, COOKIE), ("PLUGIN_UNIX_SOCKET_DIR", "/run/x")]).unwrap();
        assert_eq!(handshake.socket_dir, Path::new("/run/x"));
    }
}
