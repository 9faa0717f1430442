//! Directors, nodes, and what they log.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::subscriber::DefaultGuard;

use crate::config::{HostPort, Tls};
use crate::hints::barrier::tests::{Around, around, fleet};
use crate::hints::link::{Link, link};
use crate::hints::listen;

/// A listener before a loop that answers as told.
pub(in crate::hints) struct Listening {
    pub(in crate::hints) address: SocketAddr,
    pub(in crate::hints) around: Around,
    pub(in crate::hints) stop: CancellationToken,
    pub(in crate::hints) served: JoinHandle<()>,
}

/// A director that has one real server of that weight and read Nomad.
pub(in crate::hints) async fn director(
    at: &str,
    tls: Option<&Tls>,
    weight: Option<u32>,
) -> Listening {
    let listener = listen(at.parse().unwrap(), tls).await.unwrap();
    let (address, around, stop) = (listener.address(), around(weight), CancellationToken::new());
    around.read(fleet());
    let serve = listener.serve(around.barrier.clone(), stop.clone());
    let served = tokio::spawn(async move { serve.await.unwrap() });
    Listening {
        address,
        around,
        stop,
        served,
    }
}

impl Listening {
    /// What was sent to the task goes away.
    pub(in crate::hints) fn drain(&self) {
        *self.around.weight.lock().unwrap() = Some(0);
        *self.around.active.lock().unwrap() = Some(0);
    }

    pub(in crate::hints) async fn end(self) {
        self.stop.cancel();
        let soon = Duration::from_secs(1);
        tokio::time::timeout(soon, self.served)
            .await
            .unwrap()
            .unwrap();
    }
}

/// A node's link to that director, running.
pub(in crate::hints) fn node(director: SocketAddr, tls: Option<&Tls>) -> Link {
    let director = HostPort {
        host: director.ip().to_string(),
        port: director.port(),
    };
    let (link, line) = link(director, tls.cloned());
    tokio::spawn(line.run());
    link
}

/// Lines that were logged on this thread, which is all of a test's.
#[derive(Clone, Default)]
pub(in crate::hints) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Until the guard is dropped.
    pub(in crate::hints) fn start() -> (Self, DefaultGuard) {
        let log = Self::default();
        let lines = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter("ipvs_syncer=info")
            .with_ansi(false)
            .with_writer(move || lines.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// Those with that text.
    pub(in crate::hints) fn with(&self, text: &str) -> Vec<String> {
        let written = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = written.lines().filter(|line| line.contains(text));
        lines.map(str::to_owned).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits until something is so, for some seconds at most.
pub(in crate::hints) async fn until(what: &str, so: impl Fn() -> bool) {
    for _ in 0..500 {
        if so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} did not come about");
}
