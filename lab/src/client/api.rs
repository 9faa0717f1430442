//! The agents' HTTP APIs, asked with the lab's own tokens.
//!
//! An [`Api`] is one agent's: where it is, what its token is, and from which network it is asked. Which questions are
//! worth asking is its users' business.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::http::{self, Answer};
use super::nomad::Nomad;
use crate::host::netns;
use crate::world::access::{Access, Secret};
use crate::world::context::Lab;
use crate::world::topology::Node;

/// The headers in which each agent takes its token.
const NOMAD_TOKEN: &str = "X-Nomad-Token";
const CONSUL_TOKEN: &str = "X-Consul-Token";

/// The headers in which each agent tells its index.
const NOMAD_INDEX: &str = "X-Nomad-Index";
const CONSUL_INDEX: &str = "X-Consul-Index";

/// One agent's API.
#[derive(Debug, Clone)]
pub struct Api {
    base: String,
    token_header: &'static str,
    index_header: &'static str,
    token: Option<Secret>,
    netns: Option<String>,
}

impl Lab {
    /// The API of Nomad's server, asked from the machine's own network.
    pub fn nomad(&self) -> Nomad {
        self.nomad_of(Node::Node1)
    }

    /// The API of a node's Nomad agent.
    pub fn nomad_of(&self, node: Node) -> Nomad {
        Nomad(Api {
            base: format!("{}/v1/", self.topology.nomad_address_of(node)),
            token_header: NOMAD_TOKEN,
            index_header: NOMAD_INDEX,
            token: Access::of(self).ok().map(|access| access.nomad),
            netns: None,
        })
    }

    /// The API of Consul's server.
    pub fn consul(&self) -> Api {
        self.consul_of(Node::Node1)
    }

    /// The API of a node's Consul agent.
    pub fn consul_of(&self, node: Node) -> Api {
        Api {
            base: format!("{}/v1/", self.topology.consul_address_of(node)),
            token_header: CONSUL_TOKEN,
            index_header: CONSUL_INDEX,
            token: Access::of(self).ok().map(|access| access.consul),
            netns: None,
        }
    }
}

impl Api {
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

    /// GET of a JSON document with its index, for the next blocking query.
    pub fn get_indexed(&self, path: &str, timeout: Duration) -> Result<(Value, u64)> {
        let url = self.url(path);
        self.within(|| {
            let request = self.with_token(http::agent(timeout).get(&url));
            let answer = request.call().with_context(|| format!("GET {url}"))?;
            let index = answer.headers().get(self.index_header);
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
            Some(token) => request.header(self.token_header, token.reveal()),
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
