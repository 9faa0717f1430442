//! Tells the node's syncer what happens to a task before Nomad and Consul can: it runs, it ended, it is about to stop.
//!
//! ```text
//!  start, recover ─▶ Announce      exit (pidfd) ─▶ Exited      stop ─▶ Withdraw ─▶ "drained" (bounded) ─▶ signal
//! ```
//!
//! Hints, never the truth: a syncer that is not there costs a line in the debug log, and a task is never held back
//! longer than the drain's own limit. The socket may come and go; each message makes its own connection.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use nomad_driver_sdk::value::DriverNetwork;
use nomad_ipvs_proto::syncer::director_outcome::Outcome;
use nomad_ipvs_proto::syncer::syncer_client::SyncerClient;
use nomad_ipvs_proto::syncer::{
    AnnounceRequest, ExitedRequest, Port, WithdrawRequest, WithdrawResponse,
};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;
use tracing::debug;

use crate::spec::PublishedPort;

/// The limit for a hint: the syncer is on this machine.
const HINT_TIMEOUT: Duration = Duration::from_millis(500);
/// The answer may take so much longer than the drain's limit.
const ANSWER_MARGIN: Duration = Duration::from_millis(500);

/// The node's syncer, reached by its socket, about one task.
#[derive(Debug, Clone, Default)]
pub struct Announcer {
    socket: PathBuf,
    subject: Subject,
    /// Held while a hint is on its way, so that an end is never overtaken by its beginning.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// Which task, and by which of its host ports the world reaches it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    pub alloc_id: String,
    pub task: String,
    pub ports: Vec<PublishedPort>,
}

impl Announcer {
    pub fn new(socket: impl Into<PathBuf>, subject: Subject) -> Self {
        Self {
            socket: socket.into(),
            subject,
            turn: Arc::default(),
        }
    }

    /// The task runs; `pid` is its init process, `network` its container's own. Nobody waits for the syncer here, but the next
    /// hint does.
    pub async fn announce(&self, pid: Option<i32>, network: Option<&DriverNetwork>) {
        let address = network.map(|network| network.address.clone());
        let address = address.unwrap_or_default();
        let port = |port: &PublishedPort| Port {
            label: port.label.clone(),
            host_ip: port.host_ip.clone(),
            host_port: u32::from(port.host_port),
            container_ip: address.clone(),
            container_port: u32::from(port.container_port),
        };
        let request = AnnounceRequest {
            alloc_id: self.subject.alloc_id.clone(),
            task: self.subject.task.clone(),
            ports: self.subject.ports.iter().map(port).collect(),
            pid: pid.unwrap_or_default(),
        };
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let announcer = self.clone();
        tokio::spawn(async move {
            let announce =
                async |mut syncer: SyncerClient<Channel>| syncer.announce(request).await.map(drop);
            announcer.hint("announce", announce).await;
            drop(turn);
        });
    }

    /// The task's process is gone.
    pub async fn report_exit(&self) {
        let request = ExitedRequest {
            alloc_id: self.subject.alloc_id.clone(),
            task: self.subject.task.clone(),
        };
        let _turn = self.turn.lock().await;
        self.hint("exited", async |mut syncer| {
            syncer.exited(request).await.map(drop)
        })
        .await;
    }

    /// Waits until nothing is sent to the task any more, for `limit` at most. The answer is for the task's event.
    pub async fn withdraw(&self, limit: Duration) -> String {
        let request = WithdrawRequest {
            alloc_id: self.subject.alloc_id.clone(),
            task: self.subject.task.clone(),
            deadline: prost_types::Duration::try_from(limit).ok(),
        };
        let ask = async {
            drop(self.turn.lock().await);
            let mut syncer = self
                .connect()
                .await
                .map_err(|error| nomad_driver_sdk::error::chain(&error))?;
            let answer = syncer
                .withdraw(request)
                .await
                .map_err(|status| status.message().to_owned())?;
            Ok::<_, String>(answer.into_inner())
        };
        match tokio::time::timeout(limit.saturating_add(ANSWER_MARGIN), ask).await {
            Ok(Ok(answer)) => sentence(&answer),
            Ok(Err(reason)) => format!(
                "not drained before the stop: the syncer at {} does not answer ({reason})",
                self.socket.display()
            ),
            Err(_) => format!(
                "not drained before the stop: the syncer did not answer within {} s",
                limit.as_secs()
            ),
        }
    }

    async fn hint(
        &self,
        name: &'static str,
        send: impl AsyncFnOnce(SyncerClient<Channel>) -> Result<(), tonic::Status>,
    ) {
        if !self.socket.exists() {
            return;
        }
        let call = async {
            send(self.connect().await.map_err(|error| error.to_string())?)
                .await
                .map_err(|status| status.to_string())
        };
        match tokio::time::timeout(HINT_TIMEOUT, call).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(what = name, error, "the syncer did not take a hint"),
            Err(_) => debug!(what = name, "the syncer is slow to take a hint"),
        }
    }

    async fn connect(&self) -> Result<SyncerClient<Channel>, tonic::transport::Error> {
        let socket = self.socket.clone();
        let connector = service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { Ok::<_, io::Error>(TokioIo::new(UnixStream::connect(socket).await?)) }
        });
        // The address is never resolved: the connector knows where to go.
        Ok(SyncerClient::new(
            Endpoint::from_static("http://syncer")
                .connect_with_connector(connector)
                .await?,
        ))
    }
}

fn sentence(answer: &WithdrawResponse) -> String {
    if answer.directors.is_empty() {
        return "no load balancer sends to this task".to_owned();
    }
    let each = answer.directors.iter().map(|director| {
        let outcome = match director.outcome() {
            Outcome::Drained => "drained",
            Outcome::TimedOut => "not drained in time",
            Outcome::Unknown => "did not say",
        };
        format!("{}: {outcome}", director.director)
    });
    each.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
