//! The director's side: an address of its own, where nodes open their streams.
//!
//! Each hint goes to the [`Barrier`] as it comes; a withdrawal waits beside what comes after it, so answers come in any
//! order. A hint that can't be taken is answered as such, and its stream goes on. What a node can make the director keep
//! is bounded: so many withdrawals wait a stream, and so many altogether.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use nomad_ipvs_proto::hints::answer::Result as Said;
use nomad_ipvs_proto::hints::hints_server::{Hints, HintsServer};
use nomad_ipvs_proto::hints::{Answer, Hint as Message};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};
use tracing::debug;

use super::{Barrier, wire};
use crate::config::{Tls, TlsError};
use crate::model::AllocId;
use crate::source::driver::Hint;

/// Withdrawals that may wait on one stream: more than a node stops at once.
const WAITING: usize = 256;

/// Withdrawals that may wait altogether: each looks at the loop's table many times a second.
const ALL_WAITING: usize = 1024;

/// Answers that are ready and not yet read by the node; behind them, its hints wait.
const ANSWERS: usize = 64;

/// A hint is an id and a task's name.
const LARGEST: usize = 4096;

/// A node needs one stream. A few more are left over from connections that broke.
const STREAMS: u32 = 4;

/// A node that is gone without a word is noticed within twice this.
const PING: Duration = Duration::from_secs(10);

/// Why hints can't be listened for.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("hints.listen {address}")]
    Address {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("hints.tls")]
    Tls(#[from] TlsError),
}

/// Takes the address.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    incoming: TcpIncoming,
    server: Server,
}

/// Takes the address and reads the certificates, so that a mistake is known before anything is changed.
pub async fn listen(address: SocketAddr, tls: Option<&Tls>) -> Result<Listener, ListenError> {
    let plain = Server::builder()
        .max_concurrent_streams(STREAMS)
        .http2_keepalive_interval(Some(PING))
        .http2_keepalive_timeout(Some(PING));
    let server = match tls {
        Some(tls) => tls.server(plain)?,
        None => plain,
    };
    let failed = |source| ListenError::Address { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    Ok(Listener {
        address: listener.local_addr().map_err(failed)?,
        incoming: TcpIncoming::from(listener).with_nodelay(Some(true)),
        server,
    })
}

impl Listener {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves nodes until `stop`; their streams end with it.
    pub async fn serve(
        mut self,
        barrier: Barrier,
        stop: CancellationToken,
    ) -> Result<(), tonic::transport::Error> {
        let director = Director {
            barrier,
            room: Arc::new(Semaphore::new(ALL_WAITING)),
            stop: stop.clone(),
        };
        let service = HintsServer::new(director).max_decoding_message_size(LARGEST);
        self.server
            .add_service(service)
            .serve_with_incoming_shutdown(self.incoming, stop.cancelled_owned())
            .await
    }
}

struct Director {
    barrier: Barrier,
    room: Arc<Semaphore>,
    stop: CancellationToken,
}

#[tonic::async_trait]
impl Hints for Director {
    type TellStream = ReceiverStream<Result<Answer, Status>>;

    async fn tell(
        &self,
        request: Request<Streaming<Message>>,
    ) -> Result<Response<Self::TellStream>, Status> {
        debug!(node = ?request.remote_addr(), "a node's stream of hints is open");
        let (answers, outgoing) = mpsc::channel(ANSWERS);
        let node = Node {
            barrier: self.barrier.clone(),
            room: Arc::clone(&self.room),
        };
        let hints = request.into_inner();
        let stop = self.stop.clone();
        tokio::spawn(async move { stop.run_until_cancelled(node.hear(hints, answers)).await });
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}

/// One node's stream.
struct Node {
    barrier: Barrier,
    room: Arc<Semaphore>,
}

/// A withdrawal that was let in.
struct Withdrawal {
    number: u64,
    alloc: AllocId,
    task: String,
    limit: Duration,
    _room: OwnedSemaphorePermit,
}

/// What becomes of a hint.
enum Taken {
    Now(Answer),
    Later(Withdrawal),
}

impl Node {
    /// Until either side has gone. What waits then waits for nobody, and ends.
    async fn hear(
        self,
        mut hints: Streaming<Message>,
        answers: mpsc::Sender<Result<Answer, Status>>,
    ) {
        let mut waiting = FuturesUnordered::new();
        loop {
            // Both are cancel-safe: a hint half read, and a withdrawal half waited for, are where they were. Withdrawals come
            // first: one begins before the hint after it is read, which may be of the same task.
            let answer = tokio::select! {
                biased;
                Some(answer) = waiting.next() => answer,
                hint = hints.next() => match hint {
                    Some(Ok(hint)) => match self.take(hint, waiting.len()).await {
                        Taken::Now(answer) => answer,
                        Taken::Later(withdrawal) => {
                            waiting.push(self.wait(withdrawal));
                            continue;
                        }
                    },
                    Some(Err(_)) | None => return,
                },
            };
            if answers.send(Ok(answer)).await.is_err() {
                return;
            }
        }
    }

    async fn take(&self, message: Message, waiting: usize) -> Taken {
        let number = message.number;
        let refused = |why: String| Taken::Now(answer(number, Said::Refused(why)));
        let kind = message.kind();
        let (Some(hint), Ok(alloc)) = (wire::hint(kind), message.alloc_id.parse::<AllocId>())
        else {
            return refused(format!(
                "{:?} is no allocation's id, or {kind:?} no kind of hint",
                message.alloc_id
            ));
        };
        let (task, limit) = (message.task, wire::limit(message.deadline));
        if hint != Hint::Withdrawn {
            let outcome = self.barrier.take(alloc, &task, hint, limit).await;
            return Taken::Now(answer(number, Said::Outcome(wire::told(outcome).into())));
        }
        if waiting >= WAITING {
            return refused(format!("{WAITING} withdrawals of this node wait already"));
        }
        match Arc::clone(&self.room).try_acquire_owned() {
            Ok(room) => Taken::Later(Withdrawal {
                number,
                alloc,
                task,
                limit,
                _room: room,
            }),
            Err(_) => refused(format!("{ALL_WAITING} withdrawals wait here already")),
        }
    }

    async fn wait(&self, withdrawal: Withdrawal) -> Answer {
        let Withdrawal {
            number,
            alloc,
            task,
            limit,
            _room,
        } = withdrawal;
        let outcome = self
            .barrier
            .take(alloc, &task, Hint::Withdrawn, limit)
            .await;
        answer(number, Said::Outcome(wire::told(outcome).into()))
    }
}

fn answer(number: u64, result: Said) -> Answer {
    Answer {
        number,
        result: Some(result),
    }
}
