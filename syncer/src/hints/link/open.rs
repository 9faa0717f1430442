//! Opens the stream of hints to a director.

use nomad_ipvs_proto::hints::hints_client::HintsClient;
use nomad_ipvs_proto::hints::{Answer, Hint as Message};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use super::pending::PENDING_LIMIT;
use crate::channel::{OPEN_TIMEOUT, OpenError, connect};
use crate::config::{HostPort, Tls};

/// An open stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) hints: mpsc::Sender<Message>,
    pub(super) answers: Streaming<Answer>,
    /// The connection, which ends with the stream.
    _client: HintsClient<Channel>,
}

/// Reads the certificates, connects and opens the stream; for two seconds at most.
pub(super) async fn open(director: HostPort, tls: Option<Tls>) -> Result<Stream, OpenError> {
    let opened = async {
        let mut client = HintsClient::new(connect(&director, tls.as_ref()).await?);
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
