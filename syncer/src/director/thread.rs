//! One thread that owns the netlink socket. The kernel answers within the call, so blocking it is nothing; a namespace
//! belongs to a thread, so the socket stays on the one that opened it.

use ipvs::{Client, Error};
use tokio::sync::{oneshot, watch};

type Job = Box<dyn FnOnce(&mut Client) + Send>;

/// The netlink thread is gone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the netlink thread has ended")]
pub struct ThreadError;

/// A handle to the thread; the thread ends with the last one.
#[derive(Debug, Clone)]
pub(super) struct KernelThread {
    jobs: std::sync::mpsc::Sender<Job>,
    ended: watch::Receiver<()>,
}

impl KernelThread {
    /// Opens the socket in this thread's network namespace.
    pub(super) fn start() -> Result<Self, Error> {
        let mut client = Client::open()?;
        let (jobs, inbox) = std::sync::mpsc::channel::<Job>();
        let (alive, ended) = watch::channel(());
        let work = move || {
            // Dropped with the thread, however that ends.
            let _alive = alive;
            for job in inbox {
                job(&mut client);
            }
        };
        let builder = std::thread::Builder::new().name("netlink".to_owned());
        builder.spawn(work).map_err(|source| Error::Socket {
            operation: "start a thread",
            source,
        })?;
        Ok(Self { jobs, ended })
    }

    /// Waits until the thread is no more.
    pub(super) fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut ended = self.ended.clone();
        async move { while ended.changed().await.is_ok() {} }
    }

    /// Has the thread do something with the client.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Client) -> T + Send + 'static,
    ) -> Result<T, ThreadError> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |client| {
            // Whoever asked may have gone.
            let _ = answer.send(question(client));
        });
        self.jobs.send(job).map_err(|_| ThreadError)?;
        answered.await.map_err(|_| ThreadError)
    }
}
