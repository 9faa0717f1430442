//! The node's side towards its drivers: takes what they tell and passes it on to every director.
//!
//! A director that can't be reached is tried again, for as long as the hint is of use: a withdrawal until its deadline,
//! anything else for a second, behind the driver's back. How, is [`super::link`]'s.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
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

use super::link::{Link, Unsaid, link};
use super::{Outcome, prompt, wire};
use crate::config::{self, Tls};
use crate::parts::Parts;
use crate::source::driver::Hint;

/// The socket can't be had.
#[derive(Debug, thiserror::Error)]
#[error("hints.socket {}: {doing}", path.display())]
pub struct RelayError {
    path: PathBuf,
    doing: &'static str,
    source: io::Error,
}

/// What each director answered.
type Answers = Vec<(String, Result<Outcome, Unsaid>)>;

/// Listens on the socket, for root only, and keeps a stream open to every director, until `stop`.
pub fn serve(
    relay: &config::Relay,
    tls: Option<&Tls>,
    parts: &mut Parts,
    stop: &CancellationToken,
) -> Result<(), RelayError> {
    let thread = prompt::thread();
    let listener = {
        // The thread that accepts has to be the one that is woken.
        let _there = thread.enter();
        listen(&relay.socket)?
    };
    let mut links = Vec::new();
    for director in &relay.directors {
        let (link, line) = link(director.clone(), tls.cloned());
        links.push(link);
        let stop = stop.clone();
        parts.spawn_on(&thread, "the stream to a director", async move {
            stop.run_until_cancelled(line.run()).await;
        });
    }
    let relay = Relay {
        links: links.into(),
    };
    let server = tonic::transport::Server::builder().add_service(SyncerServer::new(relay));
    let stop = stop.clone();
    parts.spawn_on(&thread, "the socket for hints", async move {
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

fn listen(socket: &Path) -> Result<UnixListener, RelayError> {
    let failed = |doing| {
        move |source| RelayError {
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
    Ok(listener)
}

#[derive(Debug, Clone)]
struct Relay {
    links: Arc<[Link]>,
}

impl Relay {
    /// Puts a hint on its way to every director, before anything that is told later; what each answers.
    fn tell(
        &self,
        alloc: &str,
        task: &str,
        hint: Hint,
        limit: Duration,
    ) -> impl Future<Output = Answers> + use<> {
        debug!(alloc, task, ?hint, "hint");
        let told = self.links.iter().map(|link| {
            let (director, answer) = (
                link.director().to_owned(),
                link.tell(alloc, task, hint, limit),
            );
            async move {
                let answer = answer.await;
                debug!(director, ?answer, "hint answered");
                (director, answer)
            }
        });
        join_all(told.collect::<Vec<_>>())
    }

    /// Nobody waits for what becomes of it.
    fn tell_behind(&self, alloc: &str, task: &str, hint: Hint) {
        tokio::spawn(self.tell(alloc, task, hint, Duration::ZERO));
    }
}

#[tonic::async_trait]
impl Syncer for Relay {
    async fn announce(
        &self,
        request: Request<AnnounceRequest>,
    ) -> Result<Response<AnnounceResponse>, Status> {
        let AnnounceRequest { alloc_id, task, .. } = request.into_inner();
        self.tell_behind(&alloc_id, &task, Hint::Running);
        Ok(Response::new(AnnounceResponse {}))
    }

    async fn exited(
        &self,
        request: Request<ExitedRequest>,
    ) -> Result<Response<ExitedResponse>, Status> {
        let ExitedRequest { alloc_id, task } = request.into_inner();
        self.tell_behind(&alloc_id, &task, Hint::Exited);
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
        let limit = wire::limit(deadline);
        let answers = self.tell(&alloc_id, &task, Hint::Withdrawn, limit).await;
        let outcome = |(director, answer): (String, Result<Outcome, Unsaid>)| {
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
