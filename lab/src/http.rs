//! Small HTTP requests of the lab's own, from any namespace, with errors that name the address.

use std::time::Duration;

use anyhow::{Context, Result};

use serde_json::Value;

use crate::netns;

/// Status and body of an answer, whatever the status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

fn agent(patience: Duration) -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(patience))
        .http_status_as_error(false)
        .build()
        .into()
}

/// GET from this process's own network.
pub fn get(url: &str, patience: Duration) -> Result<Answer> {
    let mut answer = agent(patience)
        .get(url)
        .call()
        .with_context(|| format!("GET {url}"))?;
    let body = answer
        .body_mut()
        .read_to_string()
        .with_context(|| format!("read the answer of {url}"))?;
    Ok(Answer {
        status: answer.status().as_u16(),
        body,
    })
}

/// GET a JSON document of an agent that says its index in a header, for the next blocking query.
pub fn get_indexed(url: &str, header: &str, patience: Duration) -> Result<(Value, u64)> {
    let answer = agent(patience)
        .get(url)
        .call()
        .with_context(|| format!("GET {url}"))?;
    let index = answer.headers().get(header);
    let index = index.and_then(|value| value.to_str().ok()?.parse().ok());
    let document = answer
        .into_body()
        .read_json()
        .with_context(|| format!("GET {url}: not JSON"))?;
    Ok((document, index.unwrap_or(0)))
}

/// POST of a JSON document; any status but 200 is an error.
pub fn post_json(
    url: &str,
    body: &serde_json::Value,
    patience: Duration,
) -> Result<serde_json::Value> {
    let mut answer = agent(patience)
        .post(url)
        .send_json(body)
        .with_context(|| format!("POST {url}"))?;
    let text = answer
        .body_mut()
        .read_to_string()
        .with_context(|| format!("read the answer of {url}"))?;
    let status = answer.status().as_u16();
    anyhow::ensure!(
        status == 200,
        "POST {url} answered {status}: {}",
        text.trim()
    );
    serde_json::from_str(&text).with_context(|| format!("POST {url}: not JSON"))
}

/// GET from inside a network namespace.
pub fn get_from(netns: &str, url: &str, patience: Duration) -> Result<Answer> {
    netns::within(netns, || get(url, patience))?
}

/// GET a JSON document; any status but 200 is an error.
pub fn get_json(url: &str, patience: Duration) -> Result<Value> {
    let answer = get(url, patience)?;
    if answer.status != 200 {
        anyhow::bail!(
            "GET {url} answered {}: {}",
            answer.status,
            answer.body.trim()
        );
    }
    serde_json::from_str(&answer.body).with_context(|| format!("GET {url}: not JSON"))
}
