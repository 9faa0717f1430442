//! The director's side: an address of its own, where nodes open their streams, for hints and to take packets to VIPs.
//!
//! Each hint goes to the [`Barrier`] as it comes; a withdrawal waits beside what comes after it, so answers come in any
//! order. A hint that can't be taken is answered as such, and its stream goes on. What a node can make the director keep
//! and do is bounded: so many connections, so many withdrawals that wait a stream and altogether, so many hints a second.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use nomad_ipvs_proto::hints::answer::Result as Verdict;
use nomad_ipvs_proto::hints::hints_server::{Hints, HintsServer};
use nomad_ipvs_proto::hints::{Answer, Hint as Message};
use syncer_core::model::AllocId;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, warn};

use super::caller::Caller;
use super::guest::{Call, guests};
use super::rate::Rates;
use super::takers::Takers;
use super::{Barrier, HintRefusal, wire};
use crate::config::Tls;
use crate::connections::Connections;
use crate::credential::pem::TlsError;
use crate::files;
use crate::source::driver::{Hint, Speaker};

/// Withdrawals that may wait on one stream: more than a node stops at once.
const STREAM_WITHDRAWALS: usize = 256;

/// Withdrawals that may wait altogether: each looks at the loop's table many times a second.
const ALL_WITHDRAWALS: usize = 1024;

/// Answers that are ready and not yet read by the node; behind them, its hints wait.
const ANSWERS: usize = 64;

/// Connections at a time: two a node, and those that are left over. Fewer where half of the process's files are fewer.
const CONNECTIONS: usize = 4096;

/// How many of these connections may be without a stream: half-open, or in their handshake.
const IDLE_CONNECTIONS: usize = 128;

/// The longest message. A hint is an id and a task's name.
const MESSAGE_LIMIT: usize = 4096;

/// Streams of one connection. A node needs one; a few more are left over from connections that broke.
const STREAMS: u32 = 4;

/// How often a silent node is asked for a sign of life: one that is gone is noticed within twice this.
const PING_INTERVAL: Duration = Duration::from_secs(10);

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

/// Binds the address.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    socket: TcpListener,
    connections: Connections,
    server: Server,
}

/// Binds the address and reads the certificates, so that a mistake is known before anything is changed.
pub async fn listen(address: SocketAddr, tls: Option<&Tls>) -> Result<Listener, ListenError> {
    let plain = Server::builder()
        .max_concurrent_streams(STREAMS)
        .http2_keepalive_interval(Some(PING_INTERVAL))
        .http2_keepalive_timeout(Some(PING_INTERVAL));
    let server = match tls {
        Some(tls) => tls.server(plain)?,
        None => plain,
    };
    let failed = |source| ListenError::Address { address, source };
    let socket = TcpListener::bind(address).await.map_err(failed)?;
    let limit = files::limit().map_or(CONNECTIONS, |files| CONNECTIONS.min(files / 2));
    Ok(Listener {
        address: socket.local_addr().map_err(failed)?,
        socket,
        connections: Connections::new(limit, IDLE_CONNECTIONS),
        server,
    })
}

impl Listener {
    /// Gives the address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves nodes until `stop`; their streams end with it.
    pub async fn serve(
        mut self,
        barrier: Barrier,
        stop: CancellationToken,
    ) -> Result<(), tonic::transport::Error> {
        let rates = Arc::new(Rates::default());
        let takers = Takers {
            rates: Arc::clone(&rates),
            offers: barrier.offers.clone(),
            fleet: barrier.fleet.clone(),
            stop: stop.clone(),
        };
        let director = HintsService {
            barrier,
            rates,
            room: Arc::new(Semaphore::new(ALL_WITHDRAWALS)),
            stop: stop.clone(),
        };
        let service = HintsServer::new(director).max_decoding_message_size(MESSAGE_LIMIT);
        let accept = async |listener: &TcpListener| {
            let (stream, address) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok((stream, Some(address)))
        };
        let incoming = guests(self.socket, accept, self.connections, "hints.listen");
        self.server
            .add_service(service)
            .add_service(takers.service())
            .serve_with_incoming_shutdown(incoming, stop.cancelled_owned())
            .await
    }
}

struct HintsService {
    barrier: Barrier,
    rates: Arc<Rates>,
    room: Arc<Semaphore>,
    stop: CancellationToken,
}

#[tonic::async_trait]
impl Hints for HintsService {
    type TellStream = ReceiverStream<Result<Answer, Status>>;

    async fn tell(
        &self,
        request: Request<Streaming<Message>>,
    ) -> Result<Response<Self::TellStream>, Status> {
        let Caller {
            address,
            speaker,
            origin,
            call,
        } = Caller::of(request.extensions());
        debug!(?address, "a node's stream of hints is open");
        let (answers, outgoing) = mpsc::channel(ANSWERS);
        let node = Node {
            barrier: self.barrier.clone(),
            speaker,
            address,
            room: Arc::clone(&self.room),
            _call: call,
        };
        let turns = self.rates.of(origin);
        // What comes before its turn waits, and what comes after it stays with the node.
        let hints = request.into_inner().then(move |hint| {
            let turns = turns.clone();
            async move {
                turns.next().await;
                hint
            }
        });
        let stop = self.stop.clone();
        tokio::spawn(async move { stop.run_until_cancelled(node.hear(hints, answers)).await });
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}

/// One node's stream.
struct Node {
    barrier: Barrier,
    speaker: Speaker,
    address: Option<SocketAddr>,
    room: Arc<Semaphore>,
    _call: Option<Call>,
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
enum Reception {
    Now(Answer),
    Later(Withdrawal),
}

impl Node {
    /// Serves the stream until either side has gone. What waits then waits for nobody, and ends.
    async fn hear(
        self,
        hints: impl Stream<Item = Result<Message, Status>>,
        answers: mpsc::Sender<Result<Answer, Status>>,
    ) {
        let mut waiting = FuturesUnordered::new();
        tokio::pin!(hints);
        loop {
            // Both are cancel-safe: a hint half read, and a withdrawal half waited for, are where they were. Withdrawals come
            // first: one begins before the hint after it is read, which may be of the same task.
            let answer = tokio::select! {
                biased;
                Some(answer) = waiting.next() => answer,
                hint = hints.next() => match hint {
                    Some(Ok(hint)) => match self.take(hint, waiting.len()).await {
                        Reception::Now(answer) => answer,
                        Reception::Later(withdrawal) => {
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

    async fn take(&self, message: Message, waiting: usize) -> Reception {
        let number = message.number;
        let refused = |why: String| Reception::Now(answer(number, Verdict::Refused(why)));
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
            return Reception::Now(self.tell(number, alloc, &task, hint, limit).await);
        }
        if waiting >= STREAM_WITHDRAWALS {
            return refused(format!(
                "{STREAM_WITHDRAWALS} withdrawals of this node wait already"
            ));
        }
        match Arc::clone(&self.room).try_acquire_owned() {
            Ok(room) => Reception::Later(Withdrawal {
                number,
                alloc,
                task,
                limit,
                _room: room,
            }),
            Err(_) => refused(format!("{ALL_WITHDRAWALS} withdrawals wait here already")),
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
        self.tell(number, alloc, &task, Hint::Withdrawn, limit)
            .await
    }

    async fn tell(
        &self,
        number: u64,
        alloc: AllocId,
        task: &str,
        hint: Hint,
        limit: Duration,
    ) -> Answer {
        let taken = self
            .barrier
            .take(&self.speaker, alloc, task, hint, limit)
            .await;
        match taken {
            Ok(outcome) => answer(number, Verdict::Outcome(wire::wire(outcome).into())),
            Err(refused) => {
                if let HintRefusal::OtherNode { .. } = refused {
                    warn!(node = ?self.address, %refused, "a hint is refused");
                }
                answer(number, Verdict::Refused(refused.to_string()))
            }
        }
    }
}

fn answer(number: u64, result: Verdict) -> Answer {
    Answer {
        number,
        result: Some(result),
    }
}
