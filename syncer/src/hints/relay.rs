//! The node's side: takes what drivers tell and passes it on to every director.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use nomad_ipvs_proto::syncer::director_outcome::Outcome as Wire;
use nomad_ipvs_proto::syncer::syncer_server::{Syncer, SyncerServer};
use nomad_ipvs_proto::syncer::{
    AnnounceRequest, AnnounceResponse, DirectorOutcome, ExitedRequest, ExitedResponse,
    WithdrawRequest, WithdrawResponse,
};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tracing::debug;

use super::{Answer, Outcome, TOKEN_HEADER, Told};
use crate::config::{Api, Hints};
use crate::source::driver::Hint;
use crate::source::http::{Http, HttpError};

/// For a hint, and beyond a withdrawal's own deadline.
const MARGIN: Duration = Duration::from_secs(1);

/// The socket can't be had.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    #[error("hints.socket {}: {doing}", path.display())]
    Socket {
        path: PathBuf,
        doing: &'static str,
        source: io::Error,
    },
    #[error("hints: a client for the directors can't be made")]
    Client(#[from] reqwest::Error),
}

/// Listens on the socket, for root only, until `stop`.
pub fn serve(hints: &Hints, socket: &Path, stop: CancellationToken) -> Result<(), RelayError> {
    let failed = |doing| {
        move |source| RelayError::Socket {
            path: socket.to_owned(),
            doing,
            source,
        }
    };
    if let Some(dir) = socket.parent() {
        std::fs::create_dir_all(dir).map_err(failed("create its directory"))?;
    }
    // Left behind by a process that was killed; one that lives would still be connected to by nobody but us.
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("replace it")(error));
        }
        _ => {}
    }
    let listener = UnixListener::bind(socket).map_err(failed("listen"))?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))
        .map_err(failed("make it root's"))?;
    let director = |address: &String| {
        let api = Api {
            address: address.clone(),
            token: hints.token.clone(),
        };
        Http::new(&api, TOKEN_HEADER).map(|http| (address.clone(), http))
    };
    let directors = hints
        .directors
        .iter()
        .map(director)
        .collect::<Result<_, _>>()?;
    let server =
        tonic::transport::Server::builder().add_service(SyncerServer::new(Relay { directors }));
    tokio::spawn(async move {
        let connections = UnixListenerStream::new(listener);
        let served = server
            .serve_with_incoming_shutdown(connections, stop.cancelled())
            .await;
        if let Err(error) = served {
            tracing::error!(%error, "the socket for hints is no longer served");
        }
    });
    Ok(())
}

struct Relay {
    directors: Vec<(String, Http)>,
}

impl Relay {
    /// Tells every director at once; what each answered.
    async fn tell(
        &self,
        alloc: &str,
        task: &str,
        hint: Hint,
        limit: Duration,
    ) -> Vec<(String, Result<Outcome, HttpError>)> {
        let deadline_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let told = Told {
            alloc: alloc.to_owned(),
            task: task.to_owned(),
            hint,
            deadline_ms,
        };
        let body = serde_json::to_vec(&told).unwrap_or_default();
        debug!(alloc, task, ?hint, "hint");
        let one = |(address, http): &(String, Http)| {
            let (address, http, body) = (address.clone(), http.clone(), body.clone());
            async move {
                let path = "/v1/hint";
                let answer = http.put(path, Some(body), limit + MARGIN).await;
                (
                    address,
                    answer.and_then(|answer| Ok(answer.json::<Answer>(path)?.outcome)),
                )
            }
        };
        join_all(self.directors.iter().map(one)).await
    }
}

#[tonic::async_trait]
impl Syncer for Relay {
    async fn announce(
        &self,
        request: Request<AnnounceRequest>,
    ) -> Result<Response<AnnounceResponse>, Status> {
        let AnnounceRequest { alloc_id, task, .. } = request.into_inner();
        self.tell(&alloc_id, &task, Hint::Running, Duration::ZERO)
            .await;
        Ok(Response::new(AnnounceResponse {}))
    }

    async fn exited(
        &self,
        request: Request<ExitedRequest>,
    ) -> Result<Response<ExitedResponse>, Status> {
        let ExitedRequest { alloc_id, task } = request.into_inner();
        self.tell(&alloc_id, &task, Hint::Exited, Duration::ZERO)
            .await;
        Ok(Response::new(ExitedResponse {}))
    }

    async fn withdraw(
        &self,
        request: Request<WithdrawRequest>,
    ) -> Result<Response<WithdrawResponse>, Status> {
        let WithdrawRequest {
            alloc_id,
            task,
            deadline,
        } = request.into_inner();
        let limit = deadline
            .and_then(|deadline| Duration::try_from(deadline).ok())
            .unwrap_or_default();
        let answers = self.tell(&alloc_id, &task, Hint::Withdrawn, limit).await;
        let outcome = |(director, answer): (String, Result<Outcome, HttpError>)| {
            let outcome = match answer {
                Ok(Outcome::Absent | Outcome::Noted) => return None,
                Ok(Outcome::Drained) => Wire::Drained,
                Ok(Outcome::TimedOut) => Wire::TimedOut,
                Err(error) => {
                    debug!(director, error = error.told(), "a director does not say");
                    Wire::Unknown
                }
            };
            Some(DirectorOutcome {
                director,
                outcome: outcome.into(),
            })
        };
        let directors = answers.into_iter().filter_map(outcome).collect();
        Ok(Response::new(WithdrawResponse { directors }))
    }
}
