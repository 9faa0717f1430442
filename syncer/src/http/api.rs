//! Where an agent's API is, and by what it knows us.

use std::fmt;
use std::path::PathBuf;

use reqwest::Url;

use super::tls::HttpsTls;
use crate::credential::token::Token;

/// An agent's API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Api {
    pub address: Address,
    pub token: Option<Token>,
    /// For `https://` alone.
    pub tls: HttpsTls,
}

impl Api {
    /// An API that wants no token and that this machine's authorities vouch for.
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

/// Why a text is no address. It repeats nothing of the text, for a password may be in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.expected())]
pub enum AddressError {
    Form,
    Credentials,
}

impl AddressError {
    /// What an address looks like.
    pub(crate) fn expected(self) -> &'static str {
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
