//! The relay before directors that come late, hang, or refuse.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::routing::put;
use axum::{Json, Router};
use tokio::net::TcpListener;

use super::*;

fn relay(directors: &[&str]) -> Relay {
    let one = |address: &&str| {
        let api = Api {
            address: (*address).to_owned(),
            token: None,
        };
        (
            (*address).to_owned(),
            Http::new(&api, TOKEN_HEADER).unwrap(),
        )
    };
    Relay::new(directors.iter().map(one).collect())
}

/// A director that answers after a while, and how often it was told.
fn director(listener: TcpListener, after: Duration) -> Arc<AtomicUsize> {
    let told = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&told);
    let answer = move || async move {
        counted.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(after).await;
        let outcome = Outcome::Drained;
        Json(Answer { outcome })
    };
    let router = Router::new().route("/v1/hint", put(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    told
}

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    (listener, address)
}

#[tokio::test]
async fn a_director_that_starts_again_hears_of_a_withdrawal_still() {
    let (reserved, address) = listener().await;
    let at = reserved.local_addr().unwrap();
    drop(reserved);
    let relay = relay(&[&address]);
    let late = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let listener = TcpListener::bind(at).await.unwrap();
        director(listener, Duration::ZERO)
    };
    let limit = Duration::from_secs(5);
    let (answers, told) = tokio::join!(relay.tell("a", "www", Hint::Withdrawn, limit), late);
    assert!(matches!(answers[0].1, Ok(Outcome::Drained)), "{answers:?}");
    assert_eq!(told.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn one_director_that_hangs_does_not_hide_what_the_others_answered() {
    let ((quick, one), (hanging, other)) = (listener().await, listener().await);
    director(quick, Duration::ZERO);
    director(hanging, Duration::from_mins(1));
    let relay = relay(&[&one, &other]);
    let (limit, started) = (Duration::from_millis(300), Instant::now());
    let answers = relay.tell("a", "www", Hint::Withdrawn, limit).await;
    // Drivers give up half a second after the limit.
    assert!(started.elapsed() < limit + Duration::from_millis(450));
    assert!(matches!(answers[0].1, Ok(Outcome::Drained)), "{answers:?}");
    assert!(
        matches!(answers[1].1, Err(HttpError::Stalled { .. })),
        "{answers:?}"
    );
}

#[tokio::test]
async fn a_later_hint_ends_the_tries_of_an_earlier_one_and_trouble_is_told_once() {
    let (reserved, address) = listener().await;
    drop(reserved);
    let relay = relay(&[&address]);
    let started = Instant::now();
    let first = relay.tell("a", "www", Hint::Withdrawn, Duration::from_mins(1));
    let second = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        relay.tell("a", "www", Hint::Exited, Duration::ZERO).await
    };
    let (first, second) = tokio::join!(first, second);
    assert!(first[0].1.is_err() && second[0].1.is_err());
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(relay.lock().down.len(), 1);
    assert!(relay.lock().newest.is_empty());
}
