//! The node's loop: a host port that nobody registers is registered with the node's Consul agent, and removed when its
//! allocation stops.
//!
//! [`wanted`] says what should be registered and [`work`] what to do about it; both are pure. Consul runs the checks,
//! so they live on when we don't. What an earlier process of ours left behind is found by its prefix and compared.
//! As long as Nomad has not been read, or does not say that an allocation is over, nothing is taken away.

mod agent;
mod pure;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use agent::Agent;
pub use pure::{
    Absences, AgentEntry, MISSING_HOLD, NomadAnswer, RegistrarStep, Registration, Work, lives_on,
    wanted, work,
};

use syncer_core::model::catalog::Origin;
use syncer_core::model::fleet::Fleet;

use crate::backoff::Backoff;
use crate::config::{Config, RegistrarConfig as Settings};
use crate::http::{Api, Http, HttpError, SetupError};
use crate::parts::Parts;
use crate::source::Published;
use crate::source::nomad::TOKEN_HEADER as NOMAD_TOKEN;
use crate::status::RegistrationView;

/// How often the agent's registrations are compared although nothing happened: a restarted agent may have forgotten.
const AUDIT_INTERVAL: Duration = Duration::from_secs(5);

/// How the registrar's work stands.
#[derive(Debug, Clone, Default)]
pub struct RegistrarStatus {
    pub registrations: Vec<RegistrationView>,
    /// When the agent last answered.
    pub read_at: Option<Instant>,
    pub error: Option<String>,
    pub complete: bool,
}

/// Starts the loop, until `stop`.
pub fn start(
    config: &Config,
    settings: &Settings,
    nomad: &Api,
    fleet: watch::Receiver<Published<Fleet>>,
    parts: &mut Parts,
    stop: CancellationToken,
) -> Result<watch::Receiver<RegistrarStatus>, SetupError> {
    let (publisher, status) = watch::channel(RegistrarStatus::default());
    let registrar = Registrar {
        agent: Agent::new(&config.consul, settings.check_interval)?,
        nomad: Http::new(nomad, NOMAD_TOKEN)?,
        configured: settings.node.clone(),
        node: None,
        fleet,
        publisher,
        failed: BTreeMap::new(),
        absences: Absences::default(),
    };
    parts.spawn("the registrar", async move {
        stop.run_until_cancelled(registrar.run()).await;
    });
    Ok(status)
}

struct Registrar {
    agent: Agent,
    nomad: Http,
    configured: Option<String>,
    node: Option<String>,
    fleet: watch::Receiver<Published<Fleet>>,
    publisher: watch::Sender<RegistrarStatus>,
    failed: BTreeMap<String, String>,
    absences: Absences,
}

impl Registrar {
    async fn run(mut self) {
        let mut backoff = Backoff::default();
        loop {
            let pause = match self.pass().await {
                Ok(()) if self.failed.is_empty() => {
                    backoff.reset();
                    AUDIT_INTERVAL
                }
                Ok(()) => backoff.fail(),
                Err(error) => {
                    let reason = error.chain();
                    warn!(error = reason, "registrations can't be compared");
                    self.publisher
                        .send_modify(|status| status.error = Some(reason));
                    backoff.fail()
                }
            };
            // Cancel-safe: a change that is not seen here is seen by the next pass, which reads the newest view.
            tokio::select! {
                changed = self.fleet.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn pass(&mut self) -> Result<(), HttpError> {
        let (view, read_at) = {
            let published = self.fleet.borrow_and_update();
            (published.view.clone(), published.read_at)
        };
        let (Some(fleet), Some(read_at)) = (view, read_at) else {
            return Ok(());
        };
        let node = self.node(&fleet).await?;
        let current = self.agent.services().await?;
        let wanted = wanted(&fleet, &node, current.keys().map(String::as_str));
        let nomad = NomadAnswer {
            fleet: &fleet,
            node: &node,
            at: read_at,
            now: Instant::now(),
        };
        let work = work(&wanted, &current, &nomad, &mut self.absences);
        self.failed.clear();
        for step in work.steps {
            let (id, done) = match &step {
                RegistrarStep::Register(registration) => {
                    (&registration.id, self.agent.register(registration).await)
                }
                RegistrarStep::Deregister(id) => (id, self.agent.deregister(id).await),
            };
            match done {
                Ok(()) => info!(%step, "done"),
                Err(error) => {
                    let reason = error.chain();
                    warn!(%step, error = reason, "step failed");
                    self.failed.insert(id.clone(), reason);
                }
            }
        }
        self.publish(&wanted, &work.held, &current);
        Ok(())
    }

    fn publish(
        &self,
        wanted: &[Registration],
        held: &[String],
        current: &BTreeMap<String, AgentEntry>,
    ) {
        let view = |registration: &Registration| {
            let error = self.failed.get(&registration.id).cloned();
            let state = if error.is_some() {
                "failed"
            } else {
                "registered"
            };
            RegistrationView {
                id: registration.id.clone(),
                name: registration.name.clone(),
                address: registration.address.to_string(),
                alloc: registration.alloc.to_string(),
                state: state.to_owned(),
                error,
            }
        };
        let held = held.iter().filter_map(|id| Some((id, current.get(id)?)));
        let held = held.map(|(id, registration)| RegistrationView {
            id: id.clone(),
            name: registration.name.clone(),
            address: format!("{}:{}", registration.address, registration.port),
            alloc: Origin::of_service_id(id)
                .map(|origin| origin.alloc.to_string())
                .unwrap_or_default(),
            state: "held".to_owned(),
            error: Some("Nomad does not say that its allocation is over".to_owned()),
        });
        self.publisher.send_replace(RegistrarStatus {
            registrations: wanted.iter().map(view).chain(held).collect(),
            read_at: Some(Instant::now()),
            error: self.failed.values().next().cloned(),
            complete: self.failed.is_empty(),
        });
    }

    /// The node's name or id: as configured, or that of the agent that answers us. An agent that lost its data is
    /// another node afterwards: where no allocation is of the node, it is asked for again.
    async fn node(&mut self, fleet: &Fleet) -> Result<String, HttpError> {
        if let Some(node) = &self.configured {
            return Ok(node.clone());
        }
        if let Some(node) = &self.node
            && fleet.iter().any(|alloc| lives_on(alloc, node))
        {
            return Ok(node.clone());
        }
        let path = "/v1/agent/self";
        let agent: Value = self
            .nomad
            .get(path, Duration::from_secs(5))
            .await?
            .json(path)?;
        let id = agent
            .pointer("/stats/client/node_id")
            .and_then(Value::as_str);
        let why = "the Nomad agent is no client: set registrar.node, or nomad.address to a client's agent";
        let node = id
            .ok_or(HttpError::Unusable {
                path: path.to_owned(),
                why: why.to_owned(),
            })?
            .to_owned();
        if self.node.as_ref() != Some(&node) {
            info!(node, "node of the registrar");
        }
        self.node = Some(node.clone());
        Ok(node)
    }
}
