//! A small HTTP client for the agents' APIs: bounded, and with errors that say what was asked and what came.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Client, Method, StatusCode};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::config::Api;

/// Longest answer that is read; a list of 100 000 allocations is below.
const LONGEST: usize = 512 * 1024 * 1024;

/// One API: address, token and a connection pool.
#[derive(Debug, Clone)]
pub struct Http {
    client: Client,
    base: String,
    token: Option<(&'static str, String)>,
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
    #[error("{path}: no answer")]
    Unreachable {
        path: String,
        source: reqwest::Error,
    },
    #[error("{path}: no answer within {}s", limit.as_secs())]
    Stalled { path: String, limit: Duration },
    #[error("{path}: {status}: {body}")]
    Status {
        path: String,
        status: StatusCode,
        body: String,
    },
    #[error("{path}: the answer is longer than {LONGEST} bytes")]
    TooLong { path: String },
    #[error("{path}: unusable answer: {why}")]
    Unusable { path: String, why: String },
}

impl HttpError {
    /// With the whole chain of causes, for status and log.
    pub fn told(&self) -> String {
        let mut told = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            told.push_str(": ");
            told.push_str(&error.to_string());
            cause = error.source();
        }
        told
    }
}

impl Http {
    /// A client for that API; `header` carries its token.
    pub fn new(api: &Api, header: &'static str) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .connect_timeout(Duration::from_secs(3))
            .tcp_keepalive(Duration::from_secs(15))
            .tcp_nodelay(true)
            .no_proxy()
            .build()?;
        let token = api.token.clone().map(|token| (header, token));
        Ok(Self {
            client,
            base: api.address.clone(),
            token,
        })
    }

    /// Asks and waits for the whole answer, at most that long.
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
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some((header, token)) = &self.token {
            request = request.header(*header, token);
        }
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body);
        }
        let mut response = request.send().await.map_err(unreachable)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > LONGEST {
                return Err(HttpError::TooLong {
                    path: path.to_owned(),
                });
            }
            body.extend_from_slice(&chunk);
        }
        if !status.is_success() {
            let body = String::from_utf8_lossy(&body)
                .trim()
                .chars()
                .take(200)
                .collect();
            return Err(HttpError::Status {
                path: path.to_owned(),
                status,
                body,
            });
        }
        Ok(Answer {
            body,
            headers,
            arrived: Instant::now(),
        })
    }
}

impl Answer {
    /// The body as JSON.
    pub fn json<T: DeserializeOwned>(&self, path: &str) -> Result<T, HttpError> {
        serde_json::from_slice(&self.body).map_err(|error| HttpError::Unusable {
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
