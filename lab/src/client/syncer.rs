//! The syncers' status addresses, typed as far as the lab reads them.
//!
//! What is said here explains and is never taken for a fact: see [`crate::observe`].

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::{document, http};
use crate::world::context::Lab;
use crate::world::topology::Node;

/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// The metrics of ten thousand services take a guest longer.
const METRICS_TIMEOUT: Duration = Duration::from_secs(10);

/// A virtual service.
#[derive(Debug, Clone, Deserialize)]
pub struct Service {
    pub name: String,
    pub vip: String,
    pub declared: String,
    #[serde(default, deserialize_with = "document::each")]
    pub real_servers: Vec<RealServer>,
}

/// A real server, and why it is as it is.
#[derive(Debug, Clone, Deserialize)]
pub struct RealServer {
    pub address: SocketAddr,
    pub state: String,
    pub why: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Status {
    #[serde(default, deserialize_with = "document::each")]
    services: Vec<Service>,
}

/// What a syncer counts, as its metrics show it.
#[derive(Debug, Clone)]
pub struct Metrics(String);

/// The status address of one syncer.
#[derive(Debug, Clone)]
pub struct Syncer(String);

impl Lab {
    /// The syncer of a node.
    pub fn syncer(&self, node: Node) -> Syncer {
        Syncer(self.topology.syncer_url(node))
    }
}

impl Syncer {
    /// The reason is the error where it is not ready.
    pub fn ready(&self) -> Result<()> {
        let answer = http::get(&format!("{}/ready", self.0), ANSWER_TIMEOUT)?;
        if answer.status != 200 {
            bail!("not ready: {}", answer.body.trim());
        }
        Ok(())
    }

    /// Its virtual services.
    pub fn services(&self) -> Result<Vec<Service>> {
        let url = format!("{}/v1/status", self.0);
        let status: Status = document::typed(http::get_json(&url, ANSWER_TIMEOUT)?, &url)?;
        Ok(status.services)
    }

    pub fn metrics(&self) -> Result<Metrics> {
        let url = format!("{}/metrics", self.0);
        let answer = http::get(&url, METRICS_TIMEOUT)?;
        ensure!(answer.status == 200, "GET {url} answered {}", answer.status);
        Ok(Metrics(answer.body))
    }
}

impl Metrics {
    /// A duration; `name` is without the prefix that all have.
    pub fn seconds(&self, name: &str) -> Result<Duration> {
        let seconds = self.0.lines().find_map(|line| {
            let value = line.strip_prefix("ipvs_syncer_")?.strip_prefix(name)?;
            Duration::try_from_secs_f64(value.trim().parse().ok()?).ok()
        });
        seconds.with_context(|| format!("the syncer's metrics have no {name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_read_by_its_whole_name() {
        let text =
            "# HELP ipvs_syncer_a_total x\nipvs_syncer_a_total_more 7\nipvs_syncer_a_total 0.25\n";
        let metrics = Metrics(text.to_owned());
        let quarter = Duration::from_millis(250);
        assert_eq!(metrics.seconds("a_total").unwrap(), quarter);
        assert!(metrics.seconds("b_total").is_err());
    }
}
