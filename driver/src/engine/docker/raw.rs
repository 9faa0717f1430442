//! Calls whose answer is a stream of output: the bytes themselves, so that `frames` need not guess what they are.

use bollard::ClientVersion;
use bollard::errors::Error;
use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::io::AsyncRead;
use tokio_util::codec::FramedRead;
use tokio_util::io::StreamReader;

use super::frames::{Form, FrameError, Frames, Piece};
use super::transport::{Transport, version_path};

/// So much is read of a refusal.
const LONGEST_REFUSAL: usize = 64 * 1024;

#[derive(Deserialize)]
struct Refusal {
    message: String,
}

/// Asks for the connection itself, both ways.
pub(super) async fn hijack(
    transport: &Transport,
    version: &ClientVersion,
    path: &str,
    body: String,
) -> Result<TokioIo<Upgraded>, Error> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(version_path(version, path))
        .header(CONTENT_TYPE, "application/json")
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "tcp")
        .body(body)?;
    let response = transport.send(request).await?;
    let response = expect_status(response, StatusCode::SWITCHING_PROTOCOLS).await?;
    Ok(TokioIo::new(hyper::upgrade::on(response).await?))
}

/// Asks for a body without an end.
pub(super) async fn download(
    transport: &Transport,
    version: &ClientVersion,
    path: &str,
) -> Result<impl AsyncRead + Send + use<>, Error> {
    let request = Request::builder()
        .uri(version_path(version, path))
        .body(String::new())?;
    let response = transport.send(request).await?;
    let response = expect_status(response, StatusCode::OK).await?;
    let parts = response.into_body().into_data_stream();
    Ok(StreamReader::new(parts.map_err(std::io::Error::other)))
}

/// The pieces of output in `stream`; what can be written to stays open as long as they are read.
pub(super) fn pieces(
    form: Form,
    stream: impl AsyncRead + Send + 'static,
) -> impl Stream<Item = Result<Piece, FrameError>> + Send + 'static {
    FramedRead::new(stream, Frames::new(form))
}

async fn expect_status(
    response: Response<Incoming>,
    expected: StatusCode,
) -> Result<Response<Incoming>, Error> {
    let status = response.status();
    if status == expected {
        return Ok(response);
    }
    let body = Limited::new(response.into_body(), LONGEST_REFUSAL);
    let bytes = body
        .collect()
        .await
        .map_or_else(|_| Bytes::new(), http_body_util::Collected::to_bytes);
    let message = serde_json::from_slice(&bytes).map_or_else(
        |_| format!("status {status}: {}", String::from_utf8_lossy(&bytes)),
        |Refusal { message }| message,
    );
    Err(Error::DockerResponseServerError {
        status_code: status.as_u16(),
        message,
    })
}
