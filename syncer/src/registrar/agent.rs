//! The node's Consul agent: what it has registered, and how it is told otherwise.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::pure::{AgentEntry, Registration};
use crate::http::{Api, Http, HttpError, SetupError};
use crate::source::consul::{TOKEN_HEADER, encoded};

/// Says that the token's rights made the answer shorter.
const FILTERED_HEADER: &str = "X-Consul-Results-Filtered-By-ACLs";

const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// One agent.
#[derive(Debug)]
pub struct Agent {
    http: Http,
    check_interval: Duration,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Service {
    #[serde(rename = "Service")]
    name: String,
    #[serde(default)]
    address: String,
    #[serde(default)]
    port: i64,
}

impl Agent {
    /// Makes an agent whose checks run at that interval.
    pub fn new(api: &Api, check_interval: Duration) -> Result<Self, SetupError> {
        Ok(Self {
            http: Http::new(api, TOKEN_HEADER)?,
            check_interval,
        })
    }

    /// Lists everything that the agent has registered, by id.
    pub async fn services(&self) -> Result<BTreeMap<String, AgentEntry>, HttpError> {
        let path = "/v1/agent/services";
        let answer = self.http.get(path, ANSWER_TIMEOUT).await?;
        if answer.flag(FILTERED_HEADER) == Some(true) {
            // What is not shown would be taken for missing, and registered a second time.
            let why = "the token may not see all services of the agent; it needs service_prefix \"\" { policy = \"read\" }";
            return Err(HttpError::Unusable {
                path: path.to_owned(),
                why: why.to_owned(),
            });
        }
        let services: BTreeMap<String, Service> = answer.json(path)?;
        let registered = |registration: Service| AgentEntry {
            name: registration.name,
            address: registration.address,
            port: registration.port,
        };
        Ok(services
            .into_iter()
            .map(|(id, registration)| (id, registered(registration)))
            .collect())
    }

    /// Registers an instance with a TCP check that starts critical: nobody has seen it listen yet.
    pub async fn register(&self, registration: &Registration) -> Result<(), HttpError> {
        let (ip, port) = (
            registration.address.ip().to_string(),
            registration.address.port(),
        );
        let body = json!({
            "ID": registration.id,
            "Name": registration.name,
            "Address": ip,
            "Port": port,
            "Meta": { "external-source": "nomad-ipvs", "alloc": registration.alloc.to_string() },
            "Check": {
                "Name": format!("tcp {}", registration.address),
                "TCP": registration.address.to_string(),
                "Interval": format!("{}ms", self.check_interval.as_millis()),
                "Timeout": "1s",
                "Status": "critical",
            },
        });
        let path = "/v1/agent/service/register?replace-existing-checks=true";
        self.http
            .put(path, Some(body.to_string().into_bytes()), ANSWER_TIMEOUT)
            .await
            .map(drop)
    }

    /// Removes a registration; one that is not there counts as removed.
    pub async fn deregister(&self, id: &str) -> Result<(), HttpError> {
        match self
            .http
            .put(
                &format!("/v1/agent/service/deregister/{}", encoded(id)),
                None,
                ANSWER_TIMEOUT,
            )
            .await
        {
            Err(HttpError::Status { status, .. }) if status == 404 => Ok(()),
            other => other.map(drop),
        }
    }
}
