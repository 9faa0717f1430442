//! What can be seen of a running syncer over HTTP, from what its parts have published; none of them is asked.
//!
//! - `/v1/status`: everything, as JSON; `/`: the same as text
//! - `/metrics`: figures in Prometheus' text format
//! - `/live`: 200 as long as the process answers
//! - `/ready`: 200 while the data plane is known to do what the sources say; else 503 with the reasons
//!
//! There is no authentication: a loopback address is for this machine's accounts, any other for whoever reaches it.

mod counts;
mod document;
mod server;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use syncer_core::model::catalog::Catalog;
use syncer_core::model::fleet::Fleet;
use syncer_core::pass::PassState;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use counts::{Count, Recent};

use crate::real_server::Standing;
use crate::real_server::ports::Leases;
use crate::reconcile::Reconciler;
use crate::registrar::RegistrarStatus;
use crate::source::Published;
use crate::status::{Status, metrics, text};
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

#[cfg(test)]
mod tests;
