//! A thread that owns a netlink socket. The kernel answers within the call, but may make its caller wait for a lock of its
//! own; and a namespace belongs to a thread, so the socket stays on the one that it was handed to.

use std::fmt;
use std::io;

use tokio::sync::{oneshot, watch};

type Job<S> = Box<dyn FnOnce(&mut S) + Send>;

/// A netlink thread is gone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the netlink thread has ended")]
pub struct ThreadError;

/// A handle to the thread of a socket; the thread ends with the last one.
pub(super) struct SocketThread<S> {
    jobs: std::sync::mpsc::Sender<Job<S>>,
    ended: watch::Receiver<()>,
}

impl<S> Clone for SocketThread<S> {
    fn clone(&self) -> Self {
        Self {
            jobs: self.jobs.clone(),
            ended: self.ended.clone(),
        }
    }
}

impl<S> fmt::Debug for SocketThread<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketThread").finish_non_exhaustive()
    }
}

impl<S: Send + 'static> SocketThread<S> {
    pub(super) fn start(name: &str, mut socket: S) -> io::Result<Self> {
        let (jobs, inbox) = std::sync::mpsc::channel::<Job<S>>();
        let (alive, ended) = watch::channel(());
        let work = move || {
            // Dropped with the thread, however that ends.
            let _alive = alive;
            for job in inbox {
                job(&mut socket);
            }
        };
        let builder = std::thread::Builder::new().name(name.to_owned());
        builder.spawn(work)?;
        Ok(Self { jobs, ended })
    }

    /// Waits until the thread is no more.
    pub(super) fn ended(&self) -> impl Future<Output = ()> + Send + use<S> {
        let mut ended = self.ended.clone();
        async move { while ended.changed().await.is_ok() {} }
    }

    /// Has the thread do something with the socket.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut S) -> T + Send + 'static,
    ) -> Result<T, ThreadError> {
        let (answer, answered) = oneshot::channel();
        let job: Job<S> = Box::new(move |socket| {
            // Whoever asked may have gone, and with it the reason to do it.
            if !answer.is_closed() {
                let _ = answer.send(question(socket));
            }
        });
        self.jobs.send(job).map_err(|_| ThreadError)?;
        answered.await.map_err(|_| ThreadError)
    }
}
