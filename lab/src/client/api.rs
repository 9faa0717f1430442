//! The agents' HTTP APIs, asked with the lab's own tokens.
//!
//! An [`Api`] is one agent's: where it is, what its token is, and from which network it is asked. Which questions are
//! worth asking is its users' business.

use std::time::Duration;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::document;
use super::http::{self, Answer};
use crate::host::netns;
use crate::world::access::Secret;
use crate::world::context::Lab;
use crate::world::topology::Node;

/// The headers in which an agent takes its token and tells its index.
#[derive(Debug, Clone, Copy)]
pub(super) struct Headers {
    pub(super) token: &'static str,
    pub(super) index: &'static str,
}

/// One agent's API.
#[derive(Debug, Clone)]
pub struct Api {
    base: String,
    headers: Headers,
    token: Option<Secret>,
    netns: Option<String>,
}

impl Api {
    /// Of the agent at `address`, asked from the machine's own network.
    pub(super) fn new(address: &str, headers: Headers, token: Option<Secret>) -> Self {
        Self {
            base: format!("{address}/v1/"),
            headers,
            token,
            netns: None,
        }
    }

    /// The same, asked from inside a node: the machine may not be joined to the fabric yet, or a cable be pulled.
    #[must_use]
    pub fn inside(self, lab: &Lab, node: Node) -> Self {
        Self {
            netns: Some(lab.topology.netns(node.name())),
            ..self
        }
    }

    /// GET; `path` is what follows `/v1/`.
    pub fn get(&self, path: &str, timeout: Duration) -> Result<Answer> {
        let url = self.url(path);
        self.within(|| {
            let request = http::agent(timeout).get(&url);
            let request = self.with_token(request);
            let answer = request.call().and_then(http::read);
            answer.with_context(|| format!("GET {url}"))
        })
    }

    /// GET of a JSON document; any status but 200 is an error.
    pub fn get_json(&self, path: &str, timeout: Duration) -> Result<Value> {
        let answer = self.get(path, timeout)?;
        answer.json(&format!("GET {}", self.url(path)))
    }

    /// GET of a document of a type.
    pub fn document<T: DeserializeOwned>(&self, path: &str, timeout: Duration) -> Result<T> {
        document::typed(self.get_json(path, timeout)?, &self.url(path))
    }

    /// GET of a list, item by item: one that is not as expected is left out.
    pub fn list<T: DeserializeOwned>(&self, path: &str, timeout: Duration) -> Result<Vec<T>> {
        let items = self.document(path, timeout)?;
        Ok(document::read_each(items))
    }

    /// GET of a list with its index, for the next blocking query.
    pub fn list_indexed<T: DeserializeOwned>(
        &self,
        path: &str,
        timeout: Duration,
    ) -> Result<(Vec<T>, u64)> {
        let url = self.url(path);
        let (document, index) = self.get_indexed(&url, timeout)?;
        let items = document::typed(document, &url)?;
        Ok((document::read_each(items), index))
    }

    fn get_indexed(&self, url: &str, timeout: Duration) -> Result<(Value, u64)> {
        self.within(|| {
            let request = self.with_token(http::agent(timeout).get(url));
            let answer = request.call().with_context(|| format!("GET {url}"))?;
            let index = answer.headers().get(self.headers.index);
            let index = index.and_then(|value| value.to_str().ok()?.parse().ok());
            let answer = http::read(answer).with_context(|| format!("GET {url}"))?;
            Ok((answer.json(&format!("GET {url}"))?, index.unwrap_or(0)))
        })
    }

    /// POST of a JSON document, whatever the status.
    pub fn post(&self, path: &str, body: &Value, timeout: Duration) -> Result<Answer> {
        let url = self.url(path);
        self.within(|| {
            let request = self.with_token(http::agent(timeout).post(&url));
            let answer = request.send_json(body).and_then(http::read);
            answer.with_context(|| format!("POST {url}"))
        })
    }

    /// POST of a JSON document; any status but 200 is an error.
    pub fn post_json(&self, path: &str, body: &Value, timeout: Duration) -> Result<Value> {
        let answer = self.post(path, body, timeout)?;
        answer.json(&format!("POST {}", self.url(path)))
    }

    /// PUT of a JSON document; any status but 200 is an error.
    pub fn put(&self, path: &str, body: &Value, timeout: Duration) -> Result<()> {
        let url = self.url(path);
        let answer = self.within(|| {
            let request = self.with_token(http::agent(timeout).put(&url));
            let answer = request.send_json(body).and_then(http::read);
            answer.with_context(|| format!("PUT {url}"))
        })?;
        anyhow::ensure!(
            answer.status == 200,
            "PUT {url} answered {}: {}",
            answer.status,
            answer.body.trim()
        );
        Ok(())
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn with_token<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.token {
            Some(token) => request.header(self.headers.token, token.reveal()),
            None => request,
        }
    }

    fn within<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        match &self.netns {
            Some(netns) => netns::within(netns, work)?,
            None => work(),
        }
    }
}
