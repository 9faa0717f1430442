//! The status address's connections: few, short, and never at anybody else's cost.
//!
//! One request a connection. Who sends none within some seconds, reads its answer slower than that, or is the oldest that
//! has sent none when there are many, is cut off.

use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::connections::{ACCEPT_PAUSE, Complaints, Connections, Place};

/// Connections at a time.
pub(super) const CONNECTIONS: usize = 64;

/// How long a request's head may take.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may last, from the first byte to the last.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

/// A request's head has no more bytes.
const HEAD_LIMIT: usize = 16 * 1024;

/// Serves until `stop`.
pub(super) async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let connections = Connections::new(CONNECTIONS, CONNECTIONS);
    let mut complaints = Complaints::new("status.listen");
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                // Where there is no place, the stream is closed.
                if let Some(place) = connections.admit() {
                    let served = connection(stream, place, router.clone());
                    let stop = stop.clone();
                    tokio::spawn(async move { stop.run_until_cancelled(served).await });
                }
            }
            Err(error) => {
                complaints.fail(&error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, place: Place, router: Router) {
    let evicted = place.evicted();
    let answer = service_fn(|request: Request<Incoming>| {
        place.set_idle(false);
        router.clone().oneshot(request)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .keep_alive(false)
        .max_buf_size(HEAD_LIMIT)
        .serve_connection(TokioIo::new(stream), answer);
    // Whatever ends it, there is nobody to be told.
    tokio::select! {
        _ = served => {}
        () = evicted => {}
        () = tokio::time::sleep(CONNECTION_TIMEOUT) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::files;

    async fn served() -> (SocketAddr, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let large = "x".repeat(16 << 20);
        let router = Router::new()
            .route("/live", get(async || "live\n"))
            .route("/large", get(async move || large));
        tokio::spawn(serve(listener, router, stop.clone()));
        (address, stop)
    }

    async fn connect(address: SocketAddr, sent: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        stream
    }

    async fn answer(address: SocketAddr) -> String {
        let mut stream = connect(address, "GET /live HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Whether the other side has ended the connection.
    fn is_closed(stream: &TcpStream) -> bool {
        let mut byte = [0];
        !matches!(stream.try_read(&mut byte), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    }

    #[tokio::test]
    async fn a_thousand_half_open_requests_hold_few_places_and_keep_nobody_out() {
        files::raise_limit().unwrap();
        let (address, _stop) = served().await;
        let mut half_open = Vec::new();
        for _ in 0..1000 {
            half_open.push(connect(address, "GET /live HTTP/1.1\r\nX: ").await);
        }
        let soon = Duration::from_secs(2);
        let answer = timeout(soon, answer(address)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        let few = async {
            while half_open.iter().filter(|stream| !is_closed(stream)).count() > CONNECTIONS {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(soon, few).await.expect("at most so many stay open");
    }

    #[tokio::test(start_paused = true)]
    async fn who_sends_no_whole_request_is_cut_off_in_time() {
        let (address, _stop) = served().await;
        for sent in ["", "GET / HTTP/1.1\r\nX: "] {
            let (mut stream, started) = (connect(address, sent).await, Instant::now());
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            let took = started.elapsed();
            assert!(
                took >= HEADER_READ_TIMEOUT && took < CONNECTION_TIMEOUT,
                "{took:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_the_answer_is_cut_off_in_time() {
        let (address, _stop) = served().await;
        let request = "GET /large HTTP/1.1\r\nHost: x\r\n\r\n";
        let (mut stream, started) = (connect(address, request).await, Instant::now());
        tokio::time::sleep(CONNECTION_TIMEOUT + Duration::from_secs(1)).await;
        let mut read = Vec::new();
        let _ = stream.read_to_end(&mut read).await;
        assert!(read.len() < 16 << 20, "{} bytes", read.len());
        assert!(started.elapsed() < CONNECTION_TIMEOUT * 2);
    }
}
