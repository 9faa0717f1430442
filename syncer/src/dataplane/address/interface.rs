//! The director's interface: asked on a thread of the socket's own, for the kernel's lock may be held by others; bounded.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use nix::libc;

use super::route::{Answer, RouteSocket};
use super::{AddressError, Change, Outcome, Present, label};
use crate::dataplane::thread::SocketThread;

/// Others hold the kernel's lock for a while when they tear down many interfaces.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// One interface and the addresses that it has.
#[derive(Debug, Clone)]
pub struct Interface {
    name: Arc<str>,
    thread: SocketThread<RouteSocket>,
}

impl Interface {
    /// Opens an interface of the calling thread's network namespace. It need not exist yet.
    pub fn open(name: &str) -> Result<Self, AddressError> {
        let socket = RouteSocket::open()?;
        let thread = SocketThread::start("route-netlink", socket).map_err(|source| {
            let operation = "start a thread";
            AddressError::Socket { operation, source }
        })?;
        Ok(Self {
            name: name.into(),
            thread,
        })
    }

    /// All addresses of this machine, those of this interface marked.
    pub async fn addresses(&self) -> Result<Vec<Present>, AddressError> {
        let interface = Arc::clone(&self.name);
        self.ask(move |socket| read(socket, &interface)).await
    }

    /// Does all changes in order, whatever becomes of each; one outcome a change. An error: nothing is known of any.
    pub async fn change(
        &self,
        changes: Vec<Change>,
    ) -> Result<Vec<Result<Outcome, AddressError>>, AddressError> {
        let interface = Arc::clone(&self.name);
        self.ask(move |socket| {
            let index = index(socket, &interface)?;
            let answers = socket.change(index, label(&interface).as_deref(), &changes)?;
            let outcomes = changes.iter().zip(answers);
            Ok(outcomes
                .map(|(change, answer)| outcome(*change, answer, &interface))
                .collect())
        })
        .await
    }

    /// Waits until the thread of the socket is no more.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        self.thread.ended()
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut RouteSocket) -> Result<T, AddressError> + Send + 'static,
    ) -> Result<T, AddressError> {
        let answer = tokio::time::timeout(ANSWER_LIMIT, self.thread.ask(question)).await;
        answer.map_err(|_| AddressError::Stalled {
            interface: Arc::clone(&self.name),
            seconds: ANSWER_LIMIT.as_secs(),
        })??
    }
}

fn index(socket: &mut RouteSocket, interface: &Arc<str>) -> Result<u32, AddressError> {
    socket
        .index(interface)?
        .ok_or_else(|| AddressError::NoInterface {
            interface: Arc::clone(interface),
        })
}

fn read(socket: &mut RouteSocket, interface: &Arc<str>) -> Result<Vec<Present>, AddressError> {
    let here = index(socket, interface)?;
    let names = socket.names()?;
    let label = label(interface);
    let present = socket.addresses()?.into_iter().map(|listed| {
        let name = names.get(&listed.index).map(|name| name.as_str().into());
        Present {
            address: listed.address,
            prefix: listed.prefix,
            here: listed.index == here,
            labelled: listed.index == here && label.is_some() && label == listed.label,
            // It came or went between the two answers.
            interface: name.unwrap_or_else(|| format!("#{}", listed.index).into()),
        }
    });
    Ok(present.collect())
}

fn outcome(change: Change, answer: Answer, interface: &Arc<str>) -> Result<Outcome, AddressError> {
    match (change, answer) {
        (_, 0) => Ok(Outcome::Done),
        (Change::Add(_), libc::EEXIST) | (Change::Remove(_), libc::EADDRNOTAVAIL) => {
            Ok(Outcome::AsBefore)
        }
        (_, errno) => Err(AddressError::Refused {
            change,
            interface: Arc::clone(interface),
            source: io::Error::from_raw_os_error(errno),
        }),
    }
}
