//! The client against real servers on loopback: plain, by TLS and on a UNIX socket.

mod credentials;
mod server;

use std::error::Error;
use std::io;

use axum::http::StatusCode;
use axum::response::IntoResponse;

use self::server::{Requests, serve};
use super::*;

const LIMIT: Duration = Duration::from_secs(5);

fn fixed(address: &str, token: &str) -> Api {
    Api {
        token: Some(crate::credential::token::Token::Inline(token.to_owned())),
        ..Api::at(address.parse().unwrap())
    }
}

#[tokio::test]
async fn a_redirect_is_an_error_and_the_token_goes_nowhere_else() {
    let elsewhere = Requests::default();
    let other = serve(elsewhere.clone(), |_| "stolen".into_response()).await;
    for status in [301, 302, 303, 307, 308] {
        let target = format!("{other}/v1/health/service/web");
        let redirect = move |_: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            (status, [("location", target.clone())]).into_response()
        };
        let address = serve(Requests::default(), redirect).await;
        let http = Http::new(&fixed(&address, "s3cret"), "X-Consul-Token").unwrap();
        let get = http.get("/v1/health/service/web", LIMIT).await;
        let put = http.put("/v1/agent/service/register", Some(b"{}".to_vec()), LIMIT);
        for error in [get.unwrap_err(), put.await.unwrap_err()] {
            assert!(matches!(error, HttpError::Redirected { .. }), "{error:?}");
            let text = error.chain();
            assert!(
                text.contains(&other) && !text.contains("s3cret"),
                "{status}: {text}"
            );
        }
    }
    assert_eq!(elsewhere.all(), [""; 0]);
}

#[tokio::test]
async fn a_refusal_names_the_rule_that_the_token_lacks() {
    let refuse = |_: &str| (StatusCode::FORBIDDEN, "Permission denied\u{1b}[2J").into_response();
    let address = serve(Requests::default(), refuse).await;
    let http = Http::new(&fixed(&address, "s3cret"), "X-Consul-Token").unwrap();
    let error = http.get("/v1/allocations?namespace=*", LIMIT).await;
    assert_eq!(
        error.unwrap_err().chain(),
        "/v1/allocations?namespace=*: 403 Forbidden: Permission denied [2J; \
         the token needs namespace \"*\" { capabilities = [\"read-job\"] }"
    );
    let path = "/v1/agent/service/register";
    let error = http.put(path, None, LIMIT).await.unwrap_err().chain();
    assert!(
        error.contains("service_prefix \"\" { policy = \"write\" }"),
        "{error}"
    );
}

#[tokio::test]
async fn neither_an_answer_nor_a_refusal_without_an_end_is_kept() {
    let endless = |path: &str| {
        let chunk = || Ok::<_, std::convert::Infallible>(vec![b'x'; 64 * 1024]);
        let body = axum::body::Body::from_stream(futures_util::stream::repeat_with(chunk));
        let status = if path == "/good" { 200 } else { 500 };
        (StatusCode::from_u16(status).unwrap(), body).into_response()
    };
    let address = serve(Requests::default(), endless).await;
    let http = Http::new(&Api::at(address.parse().unwrap()), "X-Unused").unwrap();
    let error = http.get("/bad", LIMIT).await.unwrap_err();
    assert_eq!(error.chain(), "/bad: 500 Internal Server Error: ");
    let response = reqwest_to(&format!("{address}/good")).await;
    assert_eq!(body_of(response, 1024 * 1024).await.unwrap(), None);
}

async fn reqwest_to(url: &str) -> Response {
    let tls = tls::no_tls().unwrap();
    let client = Client::builder().tls_backend_preconfigured(tls);
    client.build().unwrap().get(url).send().await.unwrap()
}

#[tokio::test]
async fn a_unix_socket_is_spoken_to_with_the_token() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("consul.sock");
    let requests = Requests::default();
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    server::answer(listener, requests.clone(), |_| "[]".into_response());
    let address = format!("unix://{}", socket.display());
    let http = Http::new(&fixed(&address, "s3cret"), "X-Consul-Token").unwrap();
    let answer = http.get("/v1/health/service/web", LIMIT).await.unwrap();
    assert_eq!(answer.body, b"[]");
    assert_eq!(requests.all(), ["/v1/health/service/web s3cret"]);
}

/// What lies at the bottom can be recognised, and so named: that files have run out, for one.
#[tokio::test]
async fn the_system_s_own_error_is_in_the_chain() {
    // Bound and not listening: nobody takes connections there, and nobody else can begin to.
    let reserved = tokio::net::TcpSocket::new_v4().unwrap();
    reserved.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let closed = format!("http://{}", reserved.local_addr().unwrap());
    for (address, code) in [
        (closed.as_str(), nix::errno::Errno::ECONNREFUSED),
        ("unix:///nowhere/consul.sock", nix::errno::Errno::ENOENT),
    ] {
        let http = Http::new(&Api::at(address.parse().unwrap()), "X-Unused").unwrap();
        let error = http.get("/v1/status", LIMIT).await.unwrap_err();
        let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
        let mut found = None;
        while let Some(error) = cause {
            found = error.downcast_ref::<io::Error>().or(found);
            cause = error.source();
        }
        assert_eq!(found.unwrap().raw_os_error(), Some(code as i32));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_large_answer_is_parsed_while_others_go_on() {
    let numbers: Vec<u64> = (0..2_000_000).collect();
    let answer = Answer {
        body: serde_json::to_vec(&numbers).unwrap(),
        headers: HeaderMap::new(),
        arrived: Instant::now(),
    };
    let (begin, begun) = tokio::sync::oneshot::channel();
    // Both on the one worker; the second can only run if the first hands its work over.
    let parsing = tokio::spawn(async move {
        begin.send(()).unwrap();
        let parsed: Vec<u64> = answer.json("/v1/allocations").unwrap();
        (parsed.len(), std::time::Instant::now())
    });
    let beside = tokio::spawn(async move {
        begun.await.unwrap();
        std::time::Instant::now()
    });
    let (beside, (length, parsed)) = (beside.await.unwrap(), parsing.await.unwrap());
    assert_eq!(length, 2_000_000);
    assert!(beside < parsed);
}
