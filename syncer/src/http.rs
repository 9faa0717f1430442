//! A small HTTP client for the agents' APIs: bounded, and with errors that say what was asked and what came.
//!
//! It speaks to `http://`, `https://` and `unix://` addresses and follows no redirect: that would take the token to
//! whoever is named in it.

mod api;
mod connection;
mod rights;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, LOCATION};
use reqwest::{Client, Method, Response, StatusCode};
use serde::de::DeserializeOwned;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::time::Instant;

pub use api::{Address, AddressError, Api};
pub use connection::SetupError;
pub use tls::{HttpsTls, IdentityFiles};

use crate::error::chain;
use connection::Connection;

/// The longest answer that is read. An allocation in Nomad's list takes some 4 KiB.
const ANSWER_LIMIT: usize = 256 * 1024 * 1024;

/// The longest refusal that is read.
const REFUSAL_LIMIT: usize = 64 * 1024;

/// How much of a server's own words an error repeats.
const QUOTED_CHARS: usize = 200;

/// An answer of this size takes milliseconds to parse: nobody else on the thread should wait for it.
const LARGE_ANSWER: usize = 256 * 1024;

/// One API: address, token and a connection pool.
#[derive(Debug, Clone)]
pub struct Http {
    connection: Arc<Connection>,
    base: String,
    header: &'static str,
}

/// A good answer.
#[derive(Debug)]
pub struct Answer {
    pub body: Vec<u8>,
    pub headers: HeaderMap,
    pub arrived: Instant,
}

/// Why there is no good answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("{path}: not asked")]
    Setup { path: String, source: SetupError },
    #[error("{path}: no answer")]
    Unreachable {
        path: String,
        source: reqwest::Error,
    },
    #[error("{path}: no answer within {}s", limit.as_secs())]
    Stalled { path: String, limit: Duration },
    #[error(
        "{path}: {status}: a redirect to {location:?}, and none is followed; does the address belong to the agent itself?"
    )]
    Redirected {
        path: String,
        status: StatusCode,
        location: String,
    },
    #[error("{path}: {status}: {body}; the token needs {rule}")]
    Forbidden {
        path: String,
        status: StatusCode,
        body: String,
        rule: &'static str,
    },
    #[error("{path}: {status}: {body}")]
    Status {
        path: String,
        status: StatusCode,
        body: String,
    },
    #[error("{path}: the answer is longer than {ANSWER_LIMIT} bytes")]
    TooLong { path: String },
    #[error("{path}: unusable answer: {why}")]
    Unusable { path: String, why: String },
}

impl HttpError {
    /// Gives the error with all its causes, for the status and the log.
    pub fn chain(&self) -> String {
        chain(self)
    }
}

impl Http {
    /// Makes a client for that API; `header` carries its token.
    pub fn new(api: &Api, header: &'static str) -> Result<Self, SetupError> {
        Ok(Self {
            connection: Arc::new(Connection::new(api)?),
            base: connection::base(api),
            header,
        })
    }

    /// Asks, and waits for the whole answer until `limit` is over.
    pub async fn get(&self, path: &str, limit: Duration) -> Result<Answer, HttpError> {
        self.send(Method::GET, path, None, limit).await
    }

    /// Sends a JSON body, or none.
    pub async fn put(
        &self,
        path: &str,
        body: Option<Vec<u8>>,
        limit: Duration,
    ) -> Result<Answer, HttpError> {
        self.send(Method::PUT, path, body, limit).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        limit: Duration,
    ) -> Result<Answer, HttpError> {
        let exchange = self.exchange(method, path, body);
        let stalled = |_| HttpError::Stalled {
            path: path.to_owned(),
            limit,
        };
        tokio::time::timeout(limit, exchange)
            .await
            .map_err(stalled)?
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Answer, HttpError> {
        let unreachable = |source: reqwest::Error| HttpError::Unreachable {
            path: path.to_owned(),
            source: source.without_url(),
        };
        let (client, token) = self.current(path).await?;
        let mut request = client.request(method, format!("{}{path}", self.base));
        if let Some(token) = token {
            request = request.header(self.header, token);
        }
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body);
        }
        let response = request.send().await.map_err(unreachable)?;
        if !response.status().is_success() {
            return Err(refusal(response, path).await);
        }
        let headers = response.headers().clone();
        let body = body_of(response, ANSWER_LIMIT)
            .await
            .map_err(unreachable)?
            .ok_or_else(|| HttpError::TooLong {
                path: path.to_owned(),
            })?;
        Ok(Answer {
            body,
            headers,
            arrived: Instant::now(),
        })
    }

    /// Gives the client and the token as they are now. Another thread looks at their files, for that blocks.
    async fn current(
        &self,
        path: &str,
    ) -> Result<(Client, Option<reqwest::header::HeaderValue>), HttpError> {
        let current = if self.connection.has_files() {
            let connection = Arc::clone(&self.connection);
            match tokio::task::spawn_blocking(move || connection.current()).await {
                Ok(current) => current,
                Err(ended) => match ended.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // The runtime is ending: there is nobody left to ask for.
                    Err(_cancelled) => std::future::pending().await,
                },
            }
        } else {
            self.connection.current()
        };
        current.map_err(|source| HttpError::Setup {
            path: path.to_owned(),
            source,
        })
    }
}

/// What an answer that is no success says.
async fn refusal(response: Response, path: &str) -> HttpError {
    let (path, status) = (path.to_owned(), response.status());
    if status.is_redirection() {
        let location = response.headers().get(LOCATION);
        let location = location.map_or_else(String::new, |value| quoted(value.as_bytes()));
        return HttpError::Redirected {
            path,
            status,
            location,
        };
    }
    let body = match body_of(response, REFUSAL_LIMIT).await {
        Ok(body) => quoted(&body.unwrap_or_default()),
        Err(_) => String::new(),
    };
    match rights::needed(&path) {
        Some(rule) if matches!(status, StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED) => {
            HttpError::Forbidden {
                path,
                status,
                body,
                rule,
            }
        }
        _ => HttpError::Status { path, status, body },
    }
}

/// Reads a whole body; `None` where it is longer than `limit`.
async fn body_of(mut response: Response, limit: usize) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len().saturating_add(chunk.len()) > limit {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

/// Cuts a server's words off after their beginning, and takes out what a terminal would obey.
fn quoted(text: &[u8]) -> String {
    String::from_utf8_lossy(text)
        .trim()
        .chars()
        .take(QUOTED_CHARS)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

impl Answer {
    /// The body as JSON.
    pub fn json<T: DeserializeOwned>(&self, path: &str) -> Result<T, HttpError> {
        self.parsed(path, |body| serde_json::from_slice(body))
    }

    /// Gives the body as `parse` reads it; a large one blocks no other task meanwhile.
    pub(crate) fn parsed<T>(
        &self,
        path: &str,
        parse: impl FnOnce(&[u8]) -> serde_json::Result<T>,
    ) -> Result<T, HttpError> {
        let parse = || parse(&self.body);
        // A runtime of one thread has nobody else to give its work to.
        let hand_over = self.body.len() > LARGE_ANSWER
            && Handle::try_current()
                .is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread);
        let parsed = if hand_over {
            tokio::task::block_in_place(parse)
        } else {
            parse()
        };
        parsed.map_err(|error| HttpError::Unusable {
            path: path.to_owned(),
            why: error.to_string(),
        })
    }

    /// A header as a number.
    pub fn number(&self, header: &str) -> Option<u64> {
        self.headers.get(header)?.to_str().ok()?.parse().ok()
    }

    /// Whether a header says `true` or `false`.
    pub fn flag(&self, header: &str) -> Option<bool> {
        self.headers.get(header)?.to_str().ok()?.parse().ok()
    }
}

#[cfg(test)]
mod tests;
