//! The blocks `consul` and `nomad`: where an agent's API is, and by what it knows us.

use std::fmt;
use std::path::PathBuf;

use reqwest::Url;

use super::hints::server_name;
use super::read::Section;
use super::tls::{HttpsTls, IdentityFiles};
use super::token::{Token, is_token};
use super::value::{Unfit, parsed, text};

/// An agent's API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Api {
    pub address: Address,
    pub token: Option<Token>,
    /// For `https://` alone.
    pub tls: HttpsTls,
}

impl Api {
    /// Without a token, and believing whom this machine believes.
    pub fn at(address: Address) -> Self {
        Self {
            address,
            token: None,
            tls: HttpsTls::default(),
        }
    }
}

/// Where an API is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Http(Url),
    Https(Url),
    Unix(PathBuf),
}

impl Address {
    /// The host's name or address, an IPv6 one without its brackets; a socket has none.
    pub fn host(&self) -> Option<&str> {
        let (Self::Http(url) | Self::Https(url)) = self else {
            return None;
        };
        let host = url.host_str()?;
        Some(host.trim_start_matches('[').trim_end_matches(']'))
    }

    /// Whether what is said there can be heard on a network.
    pub fn is_in_clear(&self) -> bool {
        let (Self::Http(_), Some(host)) = (self, self.host()) else {
            return false;
        };
        match host.parse::<std::net::IpAddr>() {
            Ok(address) => !address.to_canonical().is_loopback(),
            Err(_) => host != "localhost",
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(url) | Self::Https(url) => f.write_str(url.as_str().trim_end_matches('/')),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// Why a text is no address; says nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.expected())]
pub enum AddressError {
    Form,
    Credentials,
}

impl AddressError {
    fn expected(self) -> &'static str {
        match self {
            Self::Form => "expected http://HOST:PORT, https://HOST:PORT or unix:///PATH",
            Self::Credentials => {
                "an address takes no user and no password: a token goes into token or token_file"
            }
        }
    }
}

impl std::str::FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let expected = || AddressError::Form;
        if let Some(path) = text.strip_prefix("unix://") {
            let path = PathBuf::from(path);
            return if path.is_absolute() {
                Ok(Self::Unix(path))
            } else {
                Err(expected())
            };
        }
        let url = Url::parse(text).map_err(|_| expected())?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(AddressError::Credentials);
        }
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if url.host_str().is_none() || !bare {
            return Err(expected());
        }
        match url.scheme() {
            "http" => Ok(Self::Http(url)),
            "https" => Ok(Self::Https(url)),
            _ => Err(expected()),
        }
    }
}

pub(super) fn api(mut section: Section) -> Option<Api> {
    let address = section.required("address", parsed(address));
    let inline = section.is_literal("token");
    let value = section.value("token", parsed(token));
    let file = section.value("token_file", text).map(PathBuf::from);
    if value.is_some() && file.is_some() {
        section.problem("token and token_file exclude each other");
    }
    let block = section.block("tls");
    if let (Some(block), Some(Address::Http(_) | Address::Unix(_))) = (&block, &address) {
        block.problem("block tls needs an https:// address: nothing else uses it");
    }
    section.end();
    Some(Api {
        address: address?,
        token: value
            .map(if inline {
                Token::Inline
            } else {
                Token::Resolved
            })
            .or(file.map(Token::File)),
        tls: block.map(tls).unwrap_or_default(),
    })
}

fn address(text: &str) -> Result<Address, Unfit> {
    text.parse().map_err(|error: AddressError| match error {
        AddressError::Form => Unfit::not(error.expected(), text),
        AddressError::Credentials => error.expected().into(),
    })
}

fn tls(mut section: Section) -> HttpsTls {
    let mut file = |key| section.value(key, text).map(PathBuf::from);
    let (ca_file, cert_file, key_file) = (file("ca_file"), file("cert_file"), file("key_file"));
    let server_name = section.value("server_name", parsed(host_name));
    if cert_file.is_some() != key_file.is_some() {
        section.problem("cert_file and key_file belong together");
    }
    section.end();
    HttpsTls {
        ca_file,
        identity: cert_file
            .zip(key_file)
            .map(|(cert_file, key_file)| IdentityFiles {
                cert_file,
                key_file,
            }),
        server_name,
    }
}

/// The name goes into the handshake, where an address has no place.
fn host_name(name: &str) -> Result<String, Unfit> {
    if name.parse::<std::net::IpAddr>().is_ok() {
        return Err("expected a host's name, not an address".into());
    }
    server_name(name)
}

/// Says nothing of what it was.
fn token(text: &str) -> Result<String, &'static str> {
    if is_token(text) {
        Ok(text.to_owned())
    } else {
        Err("expected a token: printable ASCII without spaces")
    }
}
