//! A gRPC channel from a node to a director, with the node's certificate.

use std::time::Duration;

use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::config::{HostPort, Tls};
use crate::credential::pem::TlsError;
use crate::error::chain;

/// How long it may take to open a stream.
pub const OPEN_TIMEOUT: Duration = Duration::from_secs(2);

/// How often the director is asked for a sign of life. A dead path is noticed within twice this, inside a drain's usual
/// limit.
const PING_INTERVAL: Duration = Duration::from_secs(2);

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("our own certificate")]
    Certificate(#[from] TlsError),
    #[error("no address")]
    Address(#[source] tonic::transport::Error),
    #[error("no connection")]
    Connect(#[source] tonic::transport::Error),
    #[error(
        "connected, and then no stream: both sides need certificates of one CA, or neither any"
    )]
    Refused(#[source] Box<Status>),
    #[error("no answer within {} s", OPEN_TIMEOUT.as_secs())]
    Slow,
}

impl OpenError {
    /// By what two of them are the same: how a refusal ends, by an alert or a broken pipe, is chance.
    pub fn gist(&self) -> String {
        match self {
            Self::Refused(_) => self.to_string(),
            _ => chain(self),
        }
    }
}

/// Reads the certificates and connects.
pub async fn connect(director: &HostPort, tls: Option<&Tls>) -> Result<Channel, OpenError> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://{director}"))
        .map_err(OpenError::Address)?
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_INTERVAL)
        .keep_alive_while_idle(true);
    if let Some(tls) = tls {
        endpoint = tls.client(&director.host, endpoint)?;
    }
    endpoint.connect().await.map_err(OpenError::Connect)
}
