//! The block `hints`: where a node takes its drivers' hints and whom it tells, where a director listens for them, and
//! with which certificates.

use std::net::SocketAddr;
use std::path::PathBuf;

use hcl::Value;
use rustls_pki_types::ServerName;

use super::read::Section;
use super::tls::Tls;
use super::value::{Unfit, boolean, parsed, text, texts};

/// Hints of drivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hints {
    /// A node's part; `None`: this process passes none on.
    pub relay: Option<Relay>,
    /// A director's part; `None`: this process is told none.
    pub listen: Option<SocketAddr>,
    /// `None`: plain, as the file says in so many words.
    pub tls: Option<Tls>,
}

/// From a node's drivers to directors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// The socket that drivers give their hints on.
    pub socket: PathBuf,
    pub directors: Vec<HostPort>,
}

/// Where a director listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// A name or an address, an IPv6 one without its brackets.
    pub host: String,
    pub port: u16,
}

impl std::fmt::Display for HostPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// `director` and `nomad`: whether the file has those blocks.
pub(super) fn hints(mut section: Section, director: bool, nomad: bool) -> Option<Hints> {
    let socket = section.value("socket", text).map(PathBuf::from);
    let directors = section.value("directors", host_ports);
    let listen = section.value(
        "listen",
        parsed(|text| text.parse().map_err(|_| "expected IP:PORT")),
    );
    let tls = section.block("tls");
    let insecure = section.value("insecure", boolean).unwrap_or(false);
    match (&tls, insecure) {
        (Some(tls), true) => {
            tls.problem("block tls and insecure = true exclude each other: certificates, or none");
        }
        (None, false) => section.problem(
            "block hints needs a block tls { ca_file, cert_file, key_file }, \
             or insecure = true where nobody else is on the network",
        ),
        _ => {}
    }
    if socket.is_some() && directors.as_ref().is_none_or(Vec::is_empty) {
        section.problem("block hints with a socket needs directors: whom to tell");
    }
    if socket.is_none() && directors.is_some() {
        section.problem("block hints with directors needs a socket: where drivers tell");
    }
    if socket.is_none() && listen.is_none() {
        section.problem(
            "block hints needs socket and directors (a node) or listen (a director), or both",
        );
    }
    if listen.is_some() && !director {
        section.problem("block hints with listen needs a block director: hints are for that role");
    }
    if listen.is_some() && !nomad {
        section.problem(
            "block hints with listen needs a block nomad: hints say something about its allocations",
        );
    }
    section.end();
    // Where a block is there and unusable, the problem is noted.
    let tls = match tls {
        Some(section) => Some(self::tls(section)?),
        None => None,
    };
    Some(Hints {
        relay: socket
            .zip(directors)
            .map(|(socket, directors)| Relay { socket, directors }),
        listen,
        tls,
    })
}

fn tls(mut section: Section) -> Option<Tls> {
    let mut file = |key| section.required(key, text).map(PathBuf::from);
    let (ca_file, cert_file, key_file) = (file("ca_file"), file("cert_file"), file("key_file"));
    let server_name = section.value("server_name", parsed(server_name));
    section.end();
    Some(Tls {
        ca_file: ca_file?,
        cert_file: cert_file?,
        key_file: key_file?,
        server_name,
    })
}

pub(super) fn server_name(name: &str) -> Result<String, Unfit> {
    match ServerName::try_from(name) {
        Ok(_) => Ok(name.to_owned()),
        Err(_) => Err(Unfit::not("expected a host's name or address", name)),
    }
}

fn host_ports(value: &Value) -> Result<Vec<HostPort>, Unfit> {
    texts(value)?.iter().map(|text| host_port(text)).collect()
}

fn host_port(text: &str) -> Result<HostPort, Unfit> {
    let expected = || Unfit::not("expected HOST:PORT", text);
    let (host, port) = text.rsplit_once(':').ok_or_else(expected)?;
    let bare = match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(address) if address.contains(':') => address,
        Some(_) => return Err(expected()),
        None if host.contains(':') => return Err(expected()),
        None => host,
    };
    let port = port
        .parse()
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(expected)?;
    let host = server_name(bare).map_err(|_| expected())?;
    Ok(HostPort { host, port })
}
