//! What can be seen of a running syncer over HTTP, from what its parts have published; none of them is asked.
//!
//! - `/v1/status`: everything, as JSON; `/`: the same as text
//! - `/metrics`: figures in Prometheus' text format
//! - `/live`: 200 as long as the process answers
//! - `/ready`: 200 while the data plane is known to do what the sources say; else 503 with the reasons
//!
//! There is no authentication: a loopback address is for this machine's accounts, any other for whoever reaches it.

mod counts;
mod server;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use ipvs::ServiceId;
use syncer_core::model::LeftOut;
use syncer_core::model::catalog::Catalog;
use syncer_core::model::fleet::Fleet;
use syncer_core::pass::PassState;
use syncer_core::reading::Counts;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use counts::{Count, Recent};

use crate::real_server::Standing;
use crate::real_server::ports::Leases;
use crate::reconcile::Reconciler;
use crate::registrar::RegistrarStatus;
use crate::source::{self, Published};
use crate::status::{
    Failure, Health, Held, Pass, PlaceView, PortView, Rejection, Source, SourceHealth, Status,
    TakeView, metrics, services, text,
};
use crate::terminal::escaped;

/// Where answers come from; a role that is off has none.
#[derive(Debug, Clone)]
pub struct Admin {
    pub started: Instant,
    pub consul: (String, Option<watch::Receiver<Published<Catalog>>>),
    pub nomad: Option<(String, watch::Receiver<Published<Fleet>>)>,
    pub director: Option<DirectorView>,
    pub registrar: Option<watch::Receiver<RegistrarStatus>>,
    pub real_server: Option<watch::Receiver<Standing>>,
    /// Of host ports.
    pub leases: Option<watch::Receiver<Leases>>,
    /// What the config allows and an operator should know of.
    pub warnings: watch::Receiver<Vec<String>>,
}

/// What a director publishes.
#[derive(Debug, Clone)]
pub struct DirectorView {
    pub passes: watch::Receiver<Arc<PassState>>,
    /// Why its state is not on disk.
    pub trouble: watch::Receiver<Option<String>>,
    pub counts: Recent,
}

impl DirectorView {
    /// The view of that loop; `count` counts connections beside it.
    pub fn of<D: crate::dataplane::DataPlane>(reconciler: &Reconciler<D>, count: Count) -> Self {
        Self {
            passes: reconciler.passes(),
            trouble: reconciler.store_trouble(),
            counts: Recent::new(count),
        }
    }
}

/// The address can't be listened on.
#[derive(Debug, thiserror::Error)]
#[error("status.listen {address}")]
pub struct ListenError {
    address: SocketAddr,
    source: std::io::Error,
}

/// Binds the address, so that a mistake is known before anything is changed.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ListenError { address, source })
}

/// Answers until `stop`.
pub async fn serve(listener: TcpListener, admin: Admin, stop: CancellationToken) {
    server::serve(listener, router(admin), stop).await;
}

#[derive(Clone)]
struct Rendering {
    admin: Admin,
    /// One at a time: large tables take long to write down, and the loop needs the processor.
    turn: Arc<Semaphore>,
}

fn router(admin: Admin) -> Router {
    let turn = Arc::new(Semaphore::new(1));
    Router::new()
        .route("/", get(page))
        .route("/v1/status", get(status))
        .route("/metrics", get(figures))
        .route("/live", get(async || "live\n"))
        .route("/ready", get(ready))
        .with_state(Rendering { admin, turn })
}

async fn status(State(rendering): State<Rendering>) -> Response {
    let render = |status: &Status| Json(status).into_response();
    rendering.render(Detail::Connections, render).await
}

async fn page(State(rendering): State<Rendering>) -> Response {
    let render = |status: &Status| text(status).into_response();
    rendering.render(Detail::Connections, render).await
}

async fn figures(State(rendering): State<Rendering>) -> Response {
    let render = |status: &Status| {
        let kind = [("content-type", "text/plain; version=0.0.4; charset=utf-8")];
        (kind, metrics(status)).into_response()
    };
    rendering.render(Detail::RealServers, render).await
}

async fn ready(State(rendering): State<Rendering>) -> Response {
    let health = rendering.admin.health();
    let lines = |head: &str, reasons: &[String]| {
        let lines = reasons.iter();
        let lines = lines.map(|why| [head, ": ", &escaped(why), "\n"].concat());
        lines.collect::<Vec<_>>().concat()
    };
    if health.is_ready() {
        let unwell = lines("unwell", &health.unwell);
        return ["ready\n", &unwell].concat().into_response();
    }
    let unready = lines("not ready", &health.unready);
    (StatusCode::SERVICE_UNAVAILABLE, unready).into_response()
}

/// How much of the status to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    RealServers,
    /// And how many connections each has.
    Connections,
}

impl Rendering {
    /// Off the runtime's own threads.
    async fn render(
        self,
        detail: Detail,
        write: impl FnOnce(&Status) -> Response + Send + 'static,
    ) -> Response {
        let counts = match (&self.admin.director, detail) {
            (Some(director), Detail::Connections) => {
                let ids = director.passes.borrow().in_kernel().collect();
                director.counts.get(ids).await
            }
            _ => Arc::default(),
        };
        let Ok(_turn) = self.turn.acquire().await else {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        };
        let admin = self.admin;
        let written = tokio::task::spawn_blocking(move || write(&admin.status(&counts))).await;
        written.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
    }
}

impl Admin {
    /// Judges whether the process is to be relied on, and what is wrong.
    pub fn health(&self) -> Health {
        let mut health = Health::default();
        for source in self.sources() {
            health.source(&SourceHealth {
                name: &source.name,
                age: source.age_ms.map(Duration::from_millis),
                error: source.error.as_deref(),
            });
        }
        if let Some(director) = &self.director {
            let trouble = director.trouble.borrow().clone();
            let state = Arc::clone(&director.passes.borrow());
            health.director(&state, trouble.as_deref(), Instant::now());
        }
        if let Some(registrar) = &self.registrar
            && !registrar.borrow().complete
        {
            health
                .unready
                .push("the node's registrations have not been compared yet".to_owned());
        }
        if let Some(real_server) = &self.real_server {
            let standing = real_server.borrow();
            let error = standing.error.iter();
            health.unready.extend(
                error.map(|error| format!("packets to VIPs are not taken as offered: {error}")),
            );
            if standing.unheard > 0 {
                let unheard = standing.unheard;
                health
                    .unwell
                    .push(format!("{unheard} directors have not offered anything yet"));
            }
        }
        if let Some(leases) = &self.leases {
            // They go the engine's way meanwhile.
            let error = leases.borrow().error.clone();
            let unwell = error.map(|error| format!("host ports depend on the engine: {error}"));
            health.unwell.extend(unwell);
        }
        health
    }

    /// Makes the whole status.
    pub fn status(&self, counts: &Counts) -> Status {
        let health = self.health();
        let mut roles = Vec::new();
        roles.extend(self.director.is_some().then(|| "director".to_owned()));
        roles.extend(self.registrar.is_some().then(|| "registrar".to_owned()));
        roles.extend(self.real_server.is_some().then(|| "real_server".to_owned()));
        let mut status = Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            roles,
            ready: health.is_ready(),
            healthy: health.is_well(),
            reasons: health.unready.into_iter().chain(health.unwell).collect(),
            uptime_ms: age(self.started),
            sources: self.sources(),
            warnings: self.warnings.borrow().clone(),
            ..Status::default()
        };
        if let Some(director) = &self.director {
            let state = Arc::clone(&director.passes.borrow());
            take(&mut status, &state, counts);
            let trouble = director.trouble.borrow().clone();
            let failure = |what| Failure { age_ms: 0, what };
            status.errors.extend(trouble.map(failure));
            status.rejected.extend(self.left_out());
        }
        if let Some(registrar) = &self.registrar {
            status
                .registrations
                .clone_from(&registrar.borrow().registrations);
        }
        if let Some(real_server) = &self.real_server {
            let standing = real_server.borrow();
            status.takes = standing.taken.iter().map(take_view).collect();
            let refused = standing.refused.iter();
            status
                .rejected
                .extend(refused.map(|(service, reason)| Rejection {
                    service: service.clone(),
                    reason: reason.clone(),
                }));
        }
        if let Some(leases) = &self.leases {
            let ports = &leases.borrow().ports;
            status.host_ports = ports.iter().map(port_view).collect();
        }
        status
    }

    /// Lists what of the sources' answers can't be used.
    fn left_out(&self) -> Vec<Rejection> {
        let rejection = |service: &str, left: &LeftOut| Rejection {
            service: service.to_owned(),
            reason: format!("{}: {}", left.what, left.reason),
        };
        let mut rejections = Vec::new();
        let catalog = self.consul.1.as_ref();
        if let Some(catalog) = catalog.and_then(|catalog| catalog.borrow().view.clone()) {
            for (name, service) in &catalog.services {
                let left_out = service.left_out.iter();
                rejections.extend(left_out.map(|left| rejection(name, left)));
            }
            let refused = catalog.refused.iter();
            rejections.extend(refused.map(|(name, left)| rejection(name, left)));
        }
        let fleet = self.nomad.as_ref();
        if let Some(fleet) = fleet.and_then(|(_, fleet)| fleet.borrow().view.clone()) {
            rejections.extend(fleet.left_out.iter().map(|left| rejection("Nomad", left)));
        }
        rejections
    }

    fn sources(&self) -> Vec<Source> {
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
        sources
    }
}

fn port_view((host, own): (&SocketAddr, &SocketAddr)) -> PortView {
    PortView {
        host: host.to_string(),
        container: own.to_string(),
    }
}

fn take_view((id, places): (&ServiceId, &Vec<(SocketAddr, u32)>)) -> TakeView {
    let view = |(address, share): &(SocketAddr, u32)| PlaceView {
        address: address.to_string(),
        share: *share,
    };
    TakeView {
        vip: id.to_string(),
        instances: places.iter().map(view).collect(),
    }
}

fn take(status: &mut Status, state: &PassState, counts: &Counts) {
    let now = source::now();
    status.stale = !state.outline.complete;
    status.pass = state.pass.map(|pass| Pass {
        number: pass.number,
        reason: pass.reason.word().to_owned(),
        age_ms: age(pass.ended.into()),
        duration_us: whole_micros(pass.took),
        longest_us: whole_micros(pass.longest),
        total_us: whole_micros(pass.total),
        steps: pass.steps,
        failed: pass.failed,
    });
    status.services = services(state, counts, now);
    let rejected = state.rejected.iter();
    status.rejected = rejected
        .map(|(name, why)| Rejection {
            service: name.to_string(),
            reason: why.reason.clone(),
        })
        .collect();
    status.held = state.hold.as_ref().map(|hold| Held {
        since_ms: u64::try_from(now.since(hold.since).as_millis()).unwrap_or(u64::MAX),
        real_servers: hold.lost,
        reason: hold.reason(now),
    });
    let errors = state.errors.iter();
    status.errors = errors
        .map(|(at, what)| Failure {
            age_ms: age((*at).into()),
            what: what.clone(),
        })
        .collect();
    status.kernel_ack = state.kernel_ack;
    status.services_unread = state.unread.services;
    status.drift = state.drift.to_vec();
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

fn whole_micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn age(at: Instant) -> u64 {
    u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
