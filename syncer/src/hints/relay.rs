//! The node's side: takes what drivers tell and passes it on to every director.
//!
//! A director that can't be reached is tried again, for as long as the hint is of use: a withdrawal until its deadline,
//! anything else for a second, behind the driver's back. A later hint about the same task ends the tries of an earlier one.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use nomad_ipvs_proto::syncer::director_outcome::Outcome as Wire;
use nomad_ipvs_proto::syncer::syncer_server::{Syncer, SyncerServer};
use nomad_ipvs_proto::syncer::{
    AnnounceRequest, AnnounceResponse, DirectorOutcome, ExitedRequest, ExitedResponse,
    WithdrawRequest, WithdrawResponse,
};
use tokio::net::UnixListener;
use tokio::time::Instant;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tracing::{debug, info, warn};

use super::{Answer, Outcome, TOKEN_HEADER, Told};
use crate::config::{Api, Hints};
use crate::parts::Parts;
use crate::source::blocking::Backoff;
use crate::source::driver::Hint;
use crate::source::http::{Http, HttpError};

/// For a hint to arrive.
const HINT: Duration = Duration::from_secs(1);

/// Beyond a withdrawal's own deadline. Drivers wait half a second beyond it: a director that hangs must not hide from
/// them what the others answered.
const MARGIN: Duration = Duration::from_millis(200);

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
pub fn serve(
    hints: &Hints,
    socket: &Path,
    parts: &mut Parts,
    stop: CancellationToken,
) -> Result<(), RelayError> {
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
    let directors: Vec<(String, Http)> = hints
        .directors
        .iter()
        .map(director)
        .collect::<Result<_, _>>()?;
    let relay = Relay::new(directors);
    let server = tonic::transport::Server::builder().add_service(SyncerServer::new(relay));
    parts.spawn("the socket for hints", async move {
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

#[derive(Clone)]
struct Relay {
    directors: Arc<Vec<(String, Http)>>,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    /// The number of the last hint about a task.
    newest: BTreeMap<(String, String), u64>,
    hints: u64,
    /// What is wrong with a director, as it was told last.
    down: BTreeMap<String, String>,
}

impl Relay {
    fn new(directors: Vec<(String, Http)>) -> Self {
        Self {
            directors: Arc::new(directors),
            shared: Arc::default(),
        }
    }

    /// Tells every director at once; what each answered.
    async fn tell(
        &self,
        alloc: &str,
        task: &str,
        hint: Hint,
        limit: Duration,
    ) -> Vec<(String, Result<Outcome, HttpError>)> {
        debug!(alloc, task, ?hint, "hint");
        let key = (alloc.to_owned(), task.to_owned());
        let number = {
            let mut shared = self.lock();
            shared.hints += 1;
            let number = shared.hints;
            shared.newest.insert(key.clone(), number);
            number
        };
        let one = |(address, http): &(String, Http)| {
            let (address, http, key) = (address.clone(), http.clone(), key.clone());
            async move {
                let answer = self.tell_one(&http, &key, hint, limit, number).await;
                self.note(&address, answer.as_ref().err());
                (address, answer)
            }
        };
        let answers = join_all(self.directors.iter().map(one)).await;
        let mut shared = self.lock();
        if shared.newest.get(&key) == Some(&number) {
            shared.newest.remove(&key);
        }
        answers
    }

    async fn tell_one(
        &self,
        http: &Http,
        key: &(String, String),
        hint: Hint,
        limit: Duration,
        number: u64,
    ) -> Result<Outcome, HttpError> {
        let path = "/v1/hint";
        let patience = if hint == Hint::Withdrawn { limit } else { HINT };
        let deadline = Instant::now() + patience;
        let mut backoff = Backoff::default();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let wait = if hint == Hint::Withdrawn {
                left
            } else {
                Duration::ZERO
            };
            let told = Told {
                alloc: key.0.clone(),
                task: key.1.clone(),
                hint,
                deadline_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            };
            let body = serde_json::to_vec(&told).unwrap_or_default();
            let error = match http.put(path, Some(body), left + MARGIN).await {
                Ok(answer) => return Ok(answer.json::<Answer>(path)?.outcome),
                Err(error @ HttpError::Unreachable { .. }) => error,
                Err(error) => return Err(error),
            };
            let pause = backoff.failed();
            let superseded = self.lock().newest.get(key) != Some(&number);
            if superseded || Instant::now() + pause >= deadline {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Says once what is wrong with a director, and once that it is well again.
    fn note(&self, director: &str, error: Option<&HttpError>) {
        let mut shared = self.lock();
        match error.map(HttpError::told) {
            Some(told) => {
                if shared.down.get(director) != Some(&told) {
                    warn!(
                        director,
                        error = told,
                        "a director does not take hints; stops are not waited for, exits are seen later"
                    );
                    shared.down.insert(director.to_owned(), told);
                }
            }
            None => {
                if shared.down.remove(director).is_some() {
                    info!(director, "the director takes hints again");
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody waits for what becomes of it.
    fn tell_behind(&self, alloc: String, task: String, hint: Hint) {
        let relay = self.clone();
        tokio::spawn(async move { relay.tell(&alloc, &task, hint, Duration::ZERO).await });
    }
}

#[tonic::async_trait]
impl Syncer for Relay {
    async fn announce(
        &self,
        request: Request<AnnounceRequest>,
    ) -> Result<Response<AnnounceResponse>, Status> {
        let AnnounceRequest { alloc_id, task, .. } = request.into_inner();
        self.tell_behind(alloc_id, task, Hint::Running);
        Ok(Response::new(AnnounceResponse {}))
    }

    async fn exited(
        &self,
        request: Request<ExitedRequest>,
    ) -> Result<Response<ExitedResponse>, Status> {
        let ExitedRequest { alloc_id, task } = request.into_inner();
        self.tell_behind(alloc_id, task, Hint::Exited);
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
                Err(_) => Wire::Unknown,
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

#[cfg(test)]
mod tests;
