//! Makes the connection to a director and opens the stream on it.

use std::time::Duration;

use nomad_ipvs_proto::hints::hints_client::HintsClient;
use nomad_ipvs_proto::hints::{Answer, Hint as Message};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

use super::pending::PENDING_LIMIT;
use crate::config::{HostPort, Tls};
use crate::credential::pem::TlsError;
use crate::error::chain;

/// How long it may take to open a stream.
const OPEN_TIMEOUT: Duration = Duration::from_secs(2);

/// How often the director is asked for a sign of life. A dead path is noticed within twice this, inside a drain's usual
/// limit.
const PING_INTERVAL: Duration = Duration::from_secs(2);

/// An open stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) hints: mpsc::Sender<Message>,
    pub(super) answers: Streaming<Answer>,
    /// The connection, which ends with the stream.
    _client: HintsClient<Channel>,
}

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
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
    pub(super) fn gist(&self) -> String {
        match self {
            Self::Refused(_) => self.to_string(),
            _ => chain(self),
        }
    }
}

/// Reads the certificates, connects and opens the stream; for two seconds at most.
pub(super) async fn open(director: HostPort, tls: Option<Tls>) -> Result<Stream, OpenError> {
    let opened = async {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{director}"))
            .map_err(OpenError::Address)?
            .tcp_nodelay(true)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_INTERVAL)
            .keep_alive_while_idle(true);
        if let Some(tls) = &tls {
            endpoint = tls.client(&director.host, endpoint)?;
        }
        let channel = endpoint.connect().await.map_err(OpenError::Connect)?;
        let mut client = HintsClient::new(channel);
        let (hints, outgoing) = mpsc::channel(PENDING_LIMIT);
        let answers = client
            .tell(ReceiverStream::new(outgoing))
            .await
            .map_err(|status| OpenError::Refused(Box::new(status)))?
            .into_inner();
        Ok(Stream {
            hints,
            answers,
            _client: client,
        })
    };
    tokio::time::timeout(OPEN_TIMEOUT, opened)
        .await
        .unwrap_or(Err(OpenError::Slow))
}
