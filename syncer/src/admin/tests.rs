//! What is answered, and that it is answered from what was published.

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use syncer_core::pass::Unread;
use tower::ServiceExt;

use syncer_core::reading::Counts;

use super::*;
use crate::status::health::tests::after_a_whole_pass;

/// A director that nobody runs: only what it published last is there.
fn admin(state: PassState, trouble: Option<&str>) -> Admin {
    let count: Count = Arc::new(|_| Box::pin(async { Counts::new() }));
    let director = DirectorView {
        passes: watch::channel(Arc::new(state)).1,
        trouble: watch::channel(trouble.map(str::to_owned)).1,
        counts: Recent::new(count),
    };
    Admin {
        started: Instant::now(),
        consul: ("http://127.0.0.1:8500".to_owned(), None),
        nomad: None,
        director: Some(director),
        registrar: None,
        real_server: None,
        leases: None,
        warnings: watch::channel(vec!["a token is exposed".to_owned()]).1,
    }
}

async fn get(admin: Admin, path: &str) -> (StatusCode, String) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let answer = router(admin).oneshot(request).await.unwrap();
    let status = answer.status();
    let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn ready_says_no_with_its_reasons_and_yes_with_what_needs_a_look() {
    let mut state = after_a_whole_pass();
    let (status, body) = get(admin(state.clone(), None), "/ready").await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, "ready\n"));
    let (status, body) = get(admin(state.clone(), Some("no space")), "/ready").await;
    assert_eq!(
        (status, body.as_str()),
        (StatusCode::OK, "ready\nunwell: no space\n")
    );
    state.unread = Unread {
        services: 900,
        list: false,
    };
    state.drift = ["net.ipv4.vs.conntrack is 0".to_owned()].into();
    let (status, body) = get(admin(state, None), "/ready").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        body,
        "not ready: 900 services that are followed have not been read\n\
         not ready: the data plane differs: net.ipv4.vs.conntrack is 0\n"
    );
}

#[tokio::test]
async fn all_is_answered_although_no_loop_runs() {
    let mut state = after_a_whole_pass();
    state.drift = ["something".to_owned()].into();
    for (path, expected) in [
        ("/v1/status", "\"drift\":[\"something\"]"),
        ("/metrics", "ipvs_syncer_drift 1"),
        ("/", "NOT READY: the data plane differs: something"),
        ("/", "WARNING a token is exposed"),
        ("/live", "live"),
    ] {
        let (status, body) = get(admin(state.clone(), None), path).await;
        assert_eq!(status, StatusCode::OK);
        assert!(body.contains(expected), "{path}: {body}");
    }
}
