//! How a request gets to the engine: one connection each, over its socket or over TCP, there with TLS if so configured.
//!
//! bollard sends its requests through here, and so do the calls whose bytes it would have to guess about: `raw`.
//! A TCP peer that is gone is noticed within [`PEER_TIMEOUT`], also by who only listens.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, BollardRequest, ClientVersion, Docker};
use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::header::{HOST, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tower::ServiceExt;
use tracing::{trace, warn};

use super::tls::{self, Tls};
use crate::engine::EngineError;
use crate::engine::address::{Address, TlsFiles};

/// bollard's own limit must never be the one that strikes: pulls, waits and logs may take days.
const BOLLARD_TIMEOUT_SECONDS: u64 = 10 * 365 * 24 * 3600;
/// The limit for making a TCP connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection without traffic is tried after this time,
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
/// again after this,
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// and given up after so many tries.
const KEEPALIVE_RETRIES: u32 = 3;
/// The limit for the acknowledgement of sent bytes, and together with the above for giving a peer up.
const PEER_TIMEOUT: Duration = Duration::from_mins(1);
/// A connection reads so much before somebody takes it.
const READ_AHEAD: usize = 64 * 1024;

/// Where an engine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Endpoint {
    Unix(PathBuf),
    Tcp(Uri),
}

/// The way to one engine.
#[derive(Debug, Clone)]
pub(super) struct Transport {
    endpoint: Endpoint,
    host: HeaderValue,
    tcp: HttpConnector,
    tls: Option<Arc<Tls>>,
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

impl Endpoint {
    pub(super) fn parse(text: &str) -> Result<Self, EngineError> {
        let bad = || EngineError::Endpoint {
            endpoint: text.to_owned(),
            reason: "unix:///path/of/the/socket, tcp://host:port or https://host:port is wanted"
                .to_owned(),
        };
        match text.split_once("://") {
            Some(("unix", path)) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(("tcp" | "http" | "https", address)) => {
                let uri = Uri::builder().scheme("http").authority(address);
                uri.path_and_query("/")
                    .build()
                    .map(Self::Tcp)
                    .map_err(|_| bad())
            }
            _ => Err(bad()),
        }
    }
}

impl Transport {
    pub(super) fn new(address: &Address) -> Result<Self, EngineError> {
        let endpoint = Endpoint::parse(&address.endpoint)?;
        let tls = tls(address, &endpoint)?;
        let host = match &endpoint {
            Endpoint::Unix(_) => None,
            Endpoint::Tcp(uri) => uri
                .authority()
                .and_then(|host| HeaderValue::from_str(host.as_str()).ok()),
        };
        let mut tcp = HttpConnector::new();
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.set_keepalive(Some(KEEPALIVE_IDLE));
        tcp.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
        tcp.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
        tcp.set_tcp_user_timeout(Some(PEER_TIMEOUT));
        tcp.set_nodelay(true);
        Ok(Self {
            endpoint,
            host: host.unwrap_or(HeaderValue::from_static("docker")),
            tcp,
            tls: tls.map(Arc::new),
        })
    }

    /// A bollard client that sends through here.
    pub(super) fn client(&self) -> Result<Docker, Error> {
        let transport = self.clone();
        let send = move |request: BollardRequest| {
            let transport = transport.clone();
            async move { transport.send(request).await }
        };
        Docker::connect_with_custom_transport(
            send,
            Some("http://docker"),
            BOLLARD_TIMEOUT_SECONDS,
            API_DEFAULT_VERSION,
        )
    }

    /// Sends one request on a connection of its own, which ends with the answer's body, or lives on as an upgrade.
    pub(super) async fn send<B>(&self, mut request: Request<B>) -> Result<Response<Incoming>, Error>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.map(Uri::from).unwrap_or_default();
        request.headers_mut().insert(HOST, self.host.clone());
        let io = TokioIo::new(self.connect().await?);
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(READ_AHEAD)
            .handshake(io)
            .await?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                trace!(%error, "a connection to the engine ended");
            }
        });
        // An engine that does not take our certificate says so in place of its first answer.
        let answer = sender.send_request(request).await;
        answer.map_err(|error| match &self.tls {
            Some(tls) if tls::cause(&error).is_some() => tls.explain(&error).into(),
            _ => error.into(),
        })
    }

    async fn connect(&self) -> Result<Pin<Box<dyn Io>>, Error> {
        match &self.endpoint {
            Endpoint::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(|error| {
                    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
                })?;
                Ok(Box::pin(stream))
            }
            Endpoint::Tcp(uri) => {
                let stream = self.tcp(uri).await?;
                let Some(tls) = &self.tls else {
                    return Ok(Box::pin(stream));
                };
                let stream = tls.wrap(stream).await.map_err(|error| {
                    let host = uri.authority().map_or("", Authority::as_str);
                    io::Error::new(error.kind(), format!("{host}: {error}"))
                })?;
                Ok(Box::pin(stream))
            }
        }
    }

    async fn tcp(&self, uri: &Uri) -> io::Result<TcpStream> {
        let connection = self.tcp.clone().oneshot(uri.clone()).await;
        let stream = connection.map_err(|error| {
            let reason = nomad_driver_sdk::error::chain(&error);
            io::Error::other(format!("{uri}: {reason}"))
        })?;
        Ok(stream.into_inner())
    }
}

/// TLS as it was asked for: by its files, or by the scheme alone.
fn tls(address: &Address, endpoint: &Endpoint) -> Result<Option<Tls>, EngineError> {
    let by_scheme = || {
        address
            .endpoint
            .starts_with("https://")
            .then(TlsFiles::default)
    };
    match (address.tls.clone().or_else(by_scheme), endpoint) {
        (None, Endpoint::Unix(_)) => Ok(None),
        (None, Endpoint::Tcp(uri)) => {
            if !uri.host().is_some_and(is_loopback) {
                warn!(
                    endpoint = address.endpoint,
                    "the engine is spoken to in clear, and whoever reaches it is root there; tls {{ ca, cert, key }} keeps both private"
                );
            }
            Ok(None)
        }
        (Some(files), Endpoint::Tcp(uri)) => Tls::new(files, &address.endpoint, uri).map(Some),
        (Some(_), Endpoint::Unix(_)) => Err(EngineError::Endpoint {
            endpoint: address.endpoint.clone(),
            reason: "TLS is for tcp:// and https:// alone; a socket of this machine needs none"
                .to_owned(),
        }),
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let address = address.parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// The path of a call in a version of the API.
pub(super) fn version_path(version: &ClientVersion, path: &str) -> String {
    format!(
        "/v{}.{}{path}",
        version.major_version, version.minor_version
    )
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::getsockopt;
    use nix::sys::socket::sockopt::{KeepAlive, TcpKeepCount, TcpKeepIdle, TcpUserTimeout};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_peer_that_dies_is_noticed_by_who_only_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
        let transport = Transport::new(&Address::plain(endpoint.clone())).unwrap();
        let Endpoint::Tcp(uri) = &transport.endpoint else {
            panic!("{endpoint}")
        };
        let stream = transport.tcp(uri).await.unwrap();
        assert!(getsockopt(&stream, KeepAlive).unwrap());
        assert_eq!(getsockopt(&stream, TcpKeepIdle).unwrap(), 30);
        assert_eq!(getsockopt(&stream, TcpKeepCount).unwrap(), 3);
        assert_eq!(getsockopt(&stream, TcpUserTimeout).unwrap(), 60_000);
    }

    #[test]
    fn only_this_machine_is_no_network() {
        for host in ["localhost", "127.0.0.1", "127.9.9.9", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["engine", "10.0.0.1", "[2001:db8::1]", "127.0.0.1.example"] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn what_is_no_endpoint_is_named() {
        for text in [
            "",
            "unix://",
            "unix://relative",
            "tcp://",
            "ssh://host",
            "tcp://a b",
        ] {
            let error = Endpoint::parse(text).unwrap_err().to_string();
            assert!(error.contains("is wanted"), "{text}: {error}");
        }
    }
}
