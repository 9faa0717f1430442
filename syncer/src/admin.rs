//! What can be asked of a running syncer over HTTP.
//!
//! - `/v1/status`: everything, as JSON; `/`: the same as text
//! - `/metrics`: figures in Prometheus' text format
//! - `/live`: 200 as long as the process answers
//! - `/ready`: 200 once every role has completed a pass, 503 before

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use ipvs::ServiceId;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::director::Counts;
use crate::model::catalog::Catalog;
use crate::model::fleet::Fleet;
use crate::reconcile;
use crate::registrar::RegistrarStatus;
use crate::source::Published;
use crate::status::{Acknowledged, Source, Status, metrics, text};

/// Counts the connections of some virtual services, beside the loop.
pub type Count =
    Arc<dyn Fn(Vec<ServiceId>) -> Pin<Box<dyn Future<Output = Counts> + Send>> + Send + Sync>;

/// A pass may be under way when somebody asks.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where answers come from; a role that is off has none.
#[derive(Clone)]
pub struct Admin {
    pub started: Instant,
    pub consul: (String, Option<watch::Receiver<Published<Catalog>>>),
    pub nomad: Option<(String, watch::Receiver<Published<Fleet>>)>,
    pub director: Option<(mpsc::Sender<oneshot::Sender<reconcile::Told>>, Count)>,
    pub registrar: Option<watch::Receiver<RegistrarStatus>>,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

/// The address can't be listened on.
#[derive(Debug, thiserror::Error)]
#[error("status.listen {address}")]
pub struct ListenError {
    address: SocketAddr,
    source: std::io::Error,
}

/// Takes the address, so that a mistake is known before anything is changed.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ListenError { address, source })
}

/// Answers until `stop`.
pub async fn serve(
    listener: TcpListener,
    admin: Admin,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/", get(page))
        .route("/v1/status", get(status))
        .route("/metrics", get(figures))
        .route("/live", get(async || "live\n"))
        .route("/ready", get(ready))
        .with_state(admin);
    axum::serve(listener, router)
        .with_graceful_shutdown(async move { stop.cancelled().await })
        .await
}

async fn status(State(admin): State<Admin>) -> Response {
    match admin.status(true).await {
        Some(status) => Json(status).into_response(),
        None => busy(),
    }
}

async fn page(State(admin): State<Admin>) -> Response {
    admin
        .status(true)
        .await
        .map_or_else(busy, |status| text(&status).into_response())
}

async fn figures(State(admin): State<Admin>) -> Response {
    admin
        .status(false)
        .await
        .map_or_else(busy, |status| metrics(&status).into_response())
}

async fn ready(State(admin): State<Admin>) -> Response {
    match admin.status(false).await {
        Some(status) if status.ready => "ready\n".into_response(),
        Some(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "not ready: no complete pass yet\n",
        )
            .into_response(),
        None => busy(),
    }
}

fn busy() -> Response {
    let told = "the reconciler did not answer within 5 s\n";
    (StatusCode::SERVICE_UNAVAILABLE, told).into_response()
}

impl Admin {
    /// How everything stands; `None` if the loop does not answer.
    async fn status(&self, with_counts: bool) -> Option<Status> {
        let mut status = self.frame();
        if let Some((ask, count)) = &self.director {
            let (answer, answered) = oneshot::channel();
            let asked = async {
                ask.send(answer).await.ok()?;
                answered.await.ok()
            };
            let told = tokio::time::timeout(PATIENCE, asked).await.ok()??;
            let counts = if with_counts {
                count(told.ids.clone()).await
            } else {
                Counts::new()
            };
            take(&mut status, told, &counts);
        }
        if let Some(registrar) = &self.registrar {
            let registrar = registrar.borrow();
            status.registrations.clone_from(&registrar.registrations);
            status.ready &= registrar.complete;
        }
        Some(status)
    }

    fn frame(&self) -> Status {
        let mut roles = Vec::new();
        roles.extend(self.director.is_some().then(|| "director".to_owned()));
        roles.extend(self.registrar.is_some().then(|| "registrar".to_owned()));
        let mut sources = Vec::new();
        let (address, catalog) = &self.consul;
        if let Some(catalog) = catalog {
            sources.push(source("consul", address, &catalog.borrow()));
        } else if let Some(registrar) = &self.registrar {
            let registrar = registrar.borrow();
            sources.push(Source {
                name: "consul".to_owned(),
                address: address.clone(),
                synced: registrar.read_at.is_some(),
                index: 0,
                age_ms: registrar.read_at.map(age),
                error: registrar.error.clone(),
            });
        }
        if let Some((address, fleet)) = &self.nomad {
            sources.push(source("nomad", address, &fleet.borrow()));
        }
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            roles,
            ready: true,
            uptime_ms: age(self.started),
            stale: false,
            pass: None,
            sources,
            services: Vec::new(),
            rejected: Vec::new(),
            registrations: Vec::new(),
            held: None,
            errors: Vec::new(),
            kernel_ack: Acknowledged::default(),
        }
    }
}

fn take(status: &mut Status, told: reconcile::Told, counts: &Counts) {
    status.ready &= told.ready;
    status.stale = told.stale;
    status.pass = told.pass;
    status.services = told.services;
    status.rejected = told.rejected;
    status.held = told.held;
    status.errors = told.errors;
    status.kernel_ack = told.kernel_ack;
    for service in &mut status.services {
        let Ok(id) = format!("{}://{}", service.protocol, service.vip).parse::<ServiceId>() else {
            continue;
        };
        for real in &mut service.real_servers {
            let Ok(address) = real.address.parse::<SocketAddr>() else {
                continue;
            };
            if let Some(connections) = counts.get(&(id, address)) {
                real.active = Some(connections.active);
                real.inactive = Some(connections.inactive);
            }
        }
    }
}

fn source<T>(name: &str, address: &str, published: &Published<T>) -> Source {
    Source {
        name: name.to_owned(),
        address: address.to_owned(),
        synced: published.view.is_some(),
        index: published.index,
        age_ms: published.read_at.map(age),
        error: published.error.clone(),
    }
}

fn age(at: Instant) -> u64 {
    u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX)
}
