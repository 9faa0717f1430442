//! The node's side towards its drivers: takes what they tell and passes it on to every director.
//!
//! A director that can't be reached is tried again, for as long as the hint is of use: a withdrawal until its deadline,
//! anything else for a second, behind the driver's back. How, is [`super::link`]'s.

use std::convert::Infallible;
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
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tracing::{debug, error};

use super::guest::{Call, Guest, guests};
use super::link::{Link, NoAnswer, link};
use super::socket::{SocketError, SocketLock, WATCH_INTERVAL, bind};
use super::{Outcome, prompt, wire};
use crate::config::{self, Tls};
use crate::connections::Connections;
use crate::parts::Parts;
use crate::real_server::Containers;
use crate::source::driver::Hint;

/// Connections of drivers at a time.
const CONNECTIONS: usize = 256;

/// How many of these connections may have asked for nothing.
const IDLE_CONNECTIONS: usize = 64;

/// What each director answered.
type Answers = Vec<(String, Result<Outcome, NoAnswer>)>;

/// Listens on the socket, for root only, and keeps a stream open to every director, until `stop`.
pub fn serve(
    relay: &config::Relay,
    tls: Option<&Tls>,
    containers: Containers,
    parts: &mut Parts,
    stop: &CancellationToken,
) -> Result<(), SocketError> {
    let thread = prompt::thread();
    let (listener, lock) = {
        // The thread that accepts has to be the one that is woken.
        let _there = thread.enter();
        bind(&relay.socket)?
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
        containers,
    };
    let server = tonic::transport::Server::builder().add_service(SyncerServer::new(relay));
    let stop = stop.clone();
    parts.spawn_on(&thread, "the socket for hints", async move {
        let accept = async |listener: &UnixListener| Ok((listener.accept().await?.0, None));
        let connections = Connections::new(CONNECTIONS, IDLE_CONNECTIONS);
        let incoming = guests(listener, accept, connections, "hints.socket");
        let served = server.serve_with_incoming_shutdown(incoming, stop.cancelled());
        let served = tokio::select! {
            served = served => served,
            never = watch(&lock) => match never {},
        };
        if let Err(error) = served {
            error!(%error, "the socket for hints is no longer served");
        }
    });
    Ok(())
}

#[derive(Debug, Clone)]
struct Relay {
    links: Arc<[Link]>,
    /// For the node's own role as a real server.
    containers: Containers,
}

impl Relay {
    /// Sends a hint to every director, before any later hint; gives what each answers.
    fn tell(
        &self,
        alloc: &str,
        task: &str,
        hint: Hint,
        limit: Duration,
    ) -> impl Future<Output = Answers> + use<> {
        debug!(alloc, task, ?hint, "hint");
        let answers = self.links.iter().map(|link| {
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
        join_all(answers.collect::<Vec<_>>())
    }

    /// Sends a hint for whose answers nobody waits.
    fn tell_behind(&self, alloc: &str, task: &str, hint: Hint) {
        tokio::spawn(self.tell(alloc, task, hint, Duration::ZERO));
    }
}

/// Holds the socket's lock, and warns for as long as drivers can't find the socket.
async fn watch(lock: &SocketLock) -> Infallible {
    loop {
        tokio::time::sleep(WATCH_INTERVAL).await;
        if !lock.is_in_place() {
            error!(
                socket = %lock.path().display(),
                "hints.socket was removed or replaced: drivers do not reach this syncer; start it again"
            );
        }
    }
}

/// The call under way: its connection stays until the call is answered.
fn call<T>(request: &Request<T>) -> Option<Call> {
    request.extensions().get::<Guest>().map(Guest::call)
}

#[tonic::async_trait]
impl Syncer for Relay {
    async fn announce(
        &self,
        request: Request<AnnounceRequest>,
    ) -> Result<Response<AnnounceResponse>, Status> {
        let _call = call(&request);
        let AnnounceRequest {
            alloc_id,
            task,
            ports,
            pid,
        } = request.into_inner();
        self.tell_behind(&alloc_id, &task, Hint::Running);
        let ports = ports.iter().filter_map(wire::places).collect();
        let pid = Some(pid).filter(|pid| *pid > 0);
        self.containers.note(&alloc_id, &task, ports, pid);
        Ok(Response::new(AnnounceResponse {}))
    }

    async fn exited(
        &self,
        request: Request<ExitedRequest>,
    ) -> Result<Response<ExitedResponse>, Status> {
        let _call = call(&request);
        let ExitedRequest { alloc_id, task } = request.into_inner();
        self.tell_behind(&alloc_id, &task, Hint::Exited);
        self.containers.forget(&alloc_id, &task);
        Ok(Response::new(ExitedResponse {}))
    }

    async fn withdraw(
        &self,
        request: Request<WithdrawRequest>,
    ) -> Result<Response<WithdrawResponse>, Status> {
        let _call = call(&request);
        let WithdrawRequest {
            alloc_id,
            task,
            deadline,
        } = request.into_inner();
        let limit = wire::limit(deadline);
        let answers = self.tell(&alloc_id, &task, Hint::Withdrawn, limit).await;
        let outcome = |(director, answer): (String, Result<Outcome, NoAnswer>)| {
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
