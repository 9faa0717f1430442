//! A connection that a listener for hints has let in, and for how long if nothing comes of it.
//!
//! The wrapper is below TLS and HTTP/2: a handshake that is not ended, or a connection on which no call is made, is cut off
//! in time, and gives its place to a newcomer when there are many.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::transport::server::Connected;

use crate::connections::{ACCEPT_PAUSE, Complaints, Connections, Place};

/// From the connection to the first call on it.
const OPENING_TIMEOUT: Duration = Duration::from_secs(10);

/// What calls on the connection know of it.
#[derive(Debug, Clone)]
pub(super) struct Guest(Arc<Inside>);

#[derive(Debug)]
struct Inside {
    /// Whose it is, where it comes from a network.
    address: Option<SocketAddr>,
    place: Place,
    calls: AtomicUsize,
    /// Calls ever.
    opened: AtomicUsize,
}

/// A call that is under way.
#[derive(Debug)]
pub(super) struct Call(Guest);

impl Guest {
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.0.address
    }

    /// A call begins: the connection keeps its place.
    pub(super) fn call(&self) -> Call {
        self.0.opened.fetch_add(1, Ordering::Relaxed);
        self.0.calls.fetch_add(1, Ordering::Relaxed);
        self.0.place.set_idle(false);
        Call(self.clone())
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let inside = &self.0.0;
        if inside.calls.fetch_sub(1, Ordering::Relaxed) == 1 {
            inside.place.set_idle(true);
        }
    }
}

/// The connection itself.
#[derive(Debug)]
pub(super) struct Guarded<S> {
    stream: S,
    guest: Guest,
    evicted: Pin<Box<WaitForCancellationFutureOwned>>,
    opening: Pin<Box<Sleep>>,
}

impl<S> Guarded<S> {
    fn new(stream: S, address: Option<SocketAddr>, place: Place) -> Self {
        let evicted = Box::pin(place.evicted());
        let inside = Inside {
            address,
            place,
            calls: AtomicUsize::new(0),
            opened: AtomicUsize::new(0),
        };
        Self {
            stream,
            guest: Guest(Arc::new(inside)),
            evicted,
            opening: Box::pin(tokio::time::sleep(OPENING_TIMEOUT)),
        }
    }

    /// Why it has to end.
    fn ended(&mut self, cx: &mut Context<'_>) -> Option<io::Error> {
        if self.evicted.as_mut().poll(cx).is_ready() {
            let why = "another connection needs the place";
            return Some(io::Error::new(io::ErrorKind::ConnectionAborted, why));
        }
        let unopened = self.guest.0.opened.load(Ordering::Relaxed) == 0;
        (unopened && self.opening.as_mut().poll(cx).is_ready())
            .then(|| io::Error::new(io::ErrorKind::TimedOut, "no call was made"))
    }
}

/// What a listener accepts, as far as there is room; it never ends.
pub(super) fn guests<S, L, A>(
    listener: L,
    accept: A,
    connections: Connections,
    name: &'static str,
) -> impl Stream<Item = Result<Guarded<S>, std::convert::Infallible>>
where
    A: AsyncFn(&L) -> io::Result<(S, Option<SocketAddr>)>,
{
    let door = (listener, accept, connections, Complaints::new(name));
    futures_util::stream::unfold(
        door,
        async |(listener, accept, connections, mut complaints)| {
            loop {
                match accept(&listener).await {
                    Ok((stream, address)) => {
                        // Where there is no place, the stream is closed.
                        if let Some(place) = connections.admit() {
                            let guarded = Guarded::new(stream, address, place);
                            return Some((
                                Ok(guarded),
                                (listener, accept, connections, complaints),
                            ));
                        }
                    }
                    Err(error) => {
                        complaints.fail(&error);
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        },
    )
}

impl<S> Connected for Guarded<S> {
    type ConnectInfo = Guest;

    fn connect_info(&self) -> Guest {
        self.guest.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.ended(cx) {
            Some(why) => Poll::Ready(Err(why)),
            None => Pin::new(&mut self.stream).poll_read(cx, buffer),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
