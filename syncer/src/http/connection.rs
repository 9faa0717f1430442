//! A client with its token. It is made anew when one of the files that they come from has changed.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::HeaderValue;
use reqwest::{Client, redirect};

use super::api::{Address, Api};
use super::tls::no_tls;
use crate::credential::Stamp;
use crate::credential::pem::TlsError;
use crate::credential::token::TokenError;

const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// How many connections are kept that nobody uses: a server lets one client address have so many in all.
const IDLE_CONNECTIONS: usize = 4;

const KEEPALIVE: Duration = Duration::from_secs(15);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("no TLS")]
    Tls(#[from] TlsError),
    #[error("no token")]
    Token(#[from] TokenError),
    #[error("no token: an HTTP header can't carry it")]
    Header,
    #[error("no HTTP client")]
    Client(#[from] reqwest::Error),
}

/// The client and the token that requests are made with.
#[derive(Debug)]
pub(super) struct Connection {
    api: Api,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    client: Client,
    token: Option<HeaderValue>,
    tls_stamps: Vec<Option<Stamp>>,
    token_stamp: Vec<Option<Stamp>>,
}

impl Connection {
    /// Reads the files and makes the first client.
    pub(super) fn new(api: &Api) -> Result<Self, SetupError> {
        // Stamps first: what changes meanwhile differs from them.
        let (tls_stamps, token_stamp) = (stamps(api.tls.files()), token_stamp(api));
        let current = Current {
            client: client(api)?,
            token: token(api)?,
            tls_stamps,
            token_stamp,
        };
        Ok(Self {
            api: api.clone(),
            current: Mutex::new(current),
        })
    }

    /// Whether there are files to look at, which blocks.
    pub(super) fn has_files(&self) -> bool {
        let token = self.api.token.as_ref();
        token.is_some_and(|token| token.file().is_some()) || self.api.tls.files().next().is_some()
    }

    /// The client and the token as their files are now. Blocks where [`Self::has_files`] says so.
    pub(super) fn current(&self) -> Result<(Client, Option<HeaderValue>), SetupError> {
        let (tls_stamps, token_stamp) = (stamps(self.api.tls.files()), token_stamp(&self.api));
        let mut current = self
            .current
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if current.tls_stamps != tls_stamps {
            current.client = client(&self.api)?;
            current.tls_stamps = tls_stamps;
        }
        if current.token_stamp != token_stamp {
            current.token = token(&self.api)?;
            current.token_stamp = token_stamp;
        }
        Ok((current.client.clone(), current.token.clone()))
    }
}

fn stamps<'a>(files: impl Iterator<Item = &'a Path>) -> Vec<Option<Stamp>> {
    files.map(|file| Stamp::of(file).ok()).collect()
}

fn token_stamp(api: &Api) -> Vec<Option<Stamp>> {
    let file = api.token.as_ref().and_then(|token| token.file());
    stamps(file.into_iter())
}

fn token(api: &Api) -> Result<Option<HeaderValue>, SetupError> {
    let Some(token) = &api.token else {
        return Ok(None);
    };
    let mut value = HeaderValue::from_str(&token.read()?).map_err(|_| SetupError::Header)?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn client(api: &Api) -> Result<Client, SetupError> {
    let tls = match &api.address {
        Address::Https(_) => api.tls.client()?,
        Address::Http(_) | Address::Unix(_) => no_tls()?,
    };
    let mut builder = Client::builder()
        .tls_backend_preconfigured(tls)
        .connect_timeout(CONNECT_LIMIT)
        .tcp_keepalive(KEEPALIVE)
        .tcp_nodelay(true)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        // Whoever answers with a redirect would be sent our token.
        .redirect(redirect::Policy::none())
        .no_proxy();
    if let Address::Unix(path) = &api.address {
        builder = builder.unix_socket(path.as_path());
    }
    if let (Some(host), Some(_)) = (api.address.host(), &api.tls.server_name) {
        builder = builder.dns_resolver(Behind {
            host: host.to_owned(),
        });
    }
    Ok(builder.build()?)
}

/// The start of each URL. With a server's name it has that name, and [`Behind`] knows where the server is.
pub(super) fn base(api: &Api) -> String {
    match (&api.address, &api.tls.server_name) {
        (Address::Unix(_), _) => "http://localhost".to_owned(),
        (Address::Https(url), Some(name)) => {
            format!(
                "https://{name}:{}",
                url.port_or_known_default().unwrap_or(443)
            )
        }
        (address, _) => address.to_string(),
    }
}

/// Resolves every name to where the configured host is.
struct Behind {
    host: String,
}

impl Resolve for Behind {
    fn resolve(&self, _name: Name) -> Resolving {
        let host = self.host.clone();
        Box::pin(async move {
            // The port is the URL's.
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host, 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
