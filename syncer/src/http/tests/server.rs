//! Servers on loopback that note what they were asked.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use axum::serve::Listener;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Each request's path and token, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Requests(Arc<Mutex<Vec<String>>>);

impl Requests {
    pub(super) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// Serves on a free port; gives the address.
pub(super) async fn serve(
    requests: Requests,
    response: impl Fn(&str) -> Response + Clone + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    answer(listener, requests, response);
    address
}

/// Answers every request in the same way, for as long as the test lasts.
pub(super) fn answer<L>(
    listener: L,
    requests: Requests,
    response: impl Fn(&str) -> Response + Clone + Send + Sync + 'static,
) where
    L: Listener<Addr: Debug>,
{
    let router = Router::new().fallback(move |request: Request| {
        let token = request.headers().get("x-consul-token");
        let token = token.map_or("-", |token| token.to_str().unwrap());
        let line = format!("{} {token}", request.uri().path());
        requests.0.lock().unwrap().push(line);
        let response = response(request.uri().path());
        async move { response }
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
}

/// Takes connections by TLS; one that fails its handshake is dropped.
pub(super) struct TlsListener {
    pub(super) listener: TcpListener,
    pub(super) acceptor: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, address)) = self.listener.accept().await else {
                continue;
            };
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}
