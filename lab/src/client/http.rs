//! Small HTTP requests of the lab's own, from any namespace, with errors that name the address.
//!
//! Redirects are not followed: what an answer names is not where a token belongs. Not for the agents' APIs, which want
//! a token: see [`crate::client::api`].

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::host::netns;

/// The longest answer that is read: the catalogue of ten thousand services has tens of megabytes.
const ANSWER_LIMIT: u64 = 256 << 20;

/// Status and body of an answer, whatever the status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

pub(crate) fn agent(timeout: Duration) -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        .max_redirects(0)
        .build()
        .into()
}

/// Reads an answer to its end.
pub(crate) fn read(mut answer: ureq::http::Response<ureq::Body>) -> Result<Answer, ureq::Error> {
    let body = answer.body_mut().with_config().limit(ANSWER_LIMIT);
    Ok(Answer {
        body: body.read_to_string()?,
        status: answer.status().as_u16(),
    })
}

impl Answer {
    /// The document, if the status is 200. `asked` is what the error names.
    pub fn json(&self, asked: &str) -> Result<Value> {
        anyhow::ensure!(
            self.status == 200,
            "{asked} answered {}: {}",
            self.status,
            self.body.trim()
        );
        serde_json::from_str(&self.body).with_context(|| format!("{asked}: not JSON"))
    }
}

/// GET from this process's own network.
pub fn get(url: &str, timeout: Duration) -> Result<Answer> {
    let answer = agent(timeout).get(url).call();
    answer.and_then(read).with_context(|| format!("GET {url}"))
}

/// GET from inside a network namespace.
pub fn get_from(netns: &str, url: &str, timeout: Duration) -> Result<Answer> {
    netns::within(netns, || get(url, timeout))?
}

/// GET a JSON document; any status but 200 is an error.
pub fn get_json(url: &str, timeout: Duration) -> Result<Value> {
    get(url, timeout)?.json(&format!("GET {url}"))
}
