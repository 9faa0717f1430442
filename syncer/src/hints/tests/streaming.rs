//! Good days and bad ones of a stream between sides that know each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::certificates::Authority;
use super::harness::{Listening, Log, director, node, until};
use crate::hints::Outcome;
use crate::hints::barrier::tests::ID;
use crate::hints::link::{Link, NoAnswer};
use crate::source::driver::Hint;

const LIMIT: Duration = Duration::from_secs(20);
/// What drivers grant beyond a withdrawal's limit is half a second.
const GRANTED: Duration = Duration::from_millis(450);
const OTHER: &str = "00000000-0000-0000-0000-000000000002";

/// A withdrawal of the task that the director has a real server of, on its way.
async fn withdrawn(
    link: &Link,
    limit: Duration,
) -> tokio::task::JoinHandle<Result<Outcome, NoAnswer>> {
    let answer = tokio::spawn(link.tell(&ID.to_string(), "www", Hint::Withdrawn, limit));
    tokio::time::sleep(Duration::from_millis(200)).await;
    answer
}

async fn busy(tls: Option<&crate::config::Tls>) -> Listening {
    let director = director("127.0.0.1:0", tls, Some(1)).await;
    *director.around.active.lock().unwrap() = Some(1);
    director
}

#[tokio::test]
async fn an_exit_overtakes_a_withdrawal_that_waits_on_the_same_stream() {
    let ca = Authority::new();
    let director = busy(Some(&ca.issue("director"))).await;
    let node = node(director.address, Some(&ca.issue("node")));
    let withdrawal = withdrawn(&node, LIMIT).await;
    for alloc in [OTHER.to_owned(), ID.to_string()] {
        let start = Instant::now();
        let outcome = node.tell(&alloc, "www", Hint::Exited, Duration::ZERO).await;
        assert_eq!(outcome, Ok(Outcome::Noted));
        assert!(
            start.elapsed() < Duration::from_millis(100),
            "{:?}",
            start.elapsed()
        );
    }
    assert!(!withdrawal.is_finished());
    director.drain();
    assert_eq!(withdrawal.await.unwrap(), Ok(Outcome::Drained));
}

#[tokio::test]
async fn plain_streams_work_where_they_are_asked_for() {
    let director = busy(None).await;
    let node = node(director.address, None);
    let withdrawal = withdrawn(&node, Duration::from_millis(300)).await;
    assert_eq!(withdrawal.await.unwrap(), Ok(Outcome::TimedOut));
    let of_nobody = node.tell(&ID.to_string(), "sidecar", Hint::Withdrawn, LIMIT);
    assert_eq!(of_nobody.await, Ok(Outcome::Absent));
}

#[tokio::test]
async fn a_director_that_starts_again_answers_a_withdrawal_that_its_predecessor_was_told() {
    let (log, _guard) = Log::start();
    let ca = Authority::new();
    let tls = ca.issue("director");
    let first = busy(Some(&tls)).await;
    let address = first.address.to_string();
    let node = node(first.address, Some(&ca.issue("node")));
    let withdrawal = withdrawn(&node, LIMIT).await;
    first.end().await;
    until("the loss", || log.with("does not take hints").len() == 1).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let started = Instant::now();
    let second = director(&address, Some(&tls), Some(1)).await;
    until("the next stream", || {
        log.with("takes hints again").len() == 1
    })
    .await;
    second.drain();
    assert_eq!(withdrawal.await.unwrap(), Ok(Outcome::Drained));
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(log.with("does not take hints").len(), 1);
}

#[tokio::test]
async fn a_hint_ends_a_long_wait_for_a_director_that_was_gone() {
    let reserved = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = reserved.local_addr().unwrap();
    drop(reserved);
    let node = node(address, None);
    // By now the waits are longer than a hint is of use.
    tokio::time::sleep(Duration::from_millis(3500)).await;
    let _director = director(&address.to_string(), None, Some(1)).await;
    let start = Instant::now();
    let outcome = node.tell(OTHER, "www", Hint::Exited, Duration::ZERO).await;
    assert_eq!(outcome, Ok(Outcome::Noted));
    assert!(
        start.elapsed() < Duration::from_millis(300),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn a_director_that_hangs_costs_no_more_than_the_deadline_and_a_margin() {
    // The kernel takes the connection, and nobody ever reads from it.
    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ca = Authority::new();
    let tls = ca.issue("node");
    for tls in [None, Some(&tls)] {
        let node = node(hanging.local_addr().unwrap(), tls);
        let (limit, start) = (Duration::from_millis(500), Instant::now());
        let outcome = node
            .tell(&ID.to_string(), "www", Hint::Withdrawn, limit)
            .await;
        assert_eq!(outcome, Err(NoAnswer::Late));
        assert!(start.elapsed() < limit + GRANTED, "{:?}", start.elapsed());
    }
}

#[tokio::test]
async fn a_path_that_is_dead_is_noticed_and_another_taken() {
    let ca = Authority::new();
    let director = director("127.0.0.1:0", Some(&ca.issue("director")), Some(0)).await;
    let (to, between) = (
        director.address,
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
    );
    let node = node(between.local_addr().unwrap(), Some(&ca.issue("node")));
    let (cut, dead) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(tokio::sync::Notify::new()),
    );
    let (cuts, notice) = (Arc::clone(&cut), Arc::clone(&dead));
    tokio::spawn(async move {
        loop {
            let (mut near, _) = between.accept().await.unwrap();
            let (cut, notice) = (Arc::clone(&cuts), Arc::clone(&notice));
            tokio::spawn(async move {
                let mut far = TcpStream::connect(to).await.unwrap();
                let first = !cut.load(Ordering::SeqCst);
                tokio::select! {
                    _ = copy_bidirectional(&mut near, &mut far) => {}
                    // Both ends stay open and hear nothing any more.
                    () = notice.notified(), if first => std::future::pending().await,
                }
            });
        }
    });
    let open = node.tell(OTHER, "www", Hint::Running, Duration::ZERO).await;
    assert_eq!(open, Ok(Outcome::Noted));
    cut.store(true, Ordering::SeqCst);
    dead.notify_waiters();
    let start = Instant::now();
    let outcome = node
        .tell(&ID.to_string(), "www", Hint::Withdrawn, LIMIT)
        .await;
    assert_eq!(outcome, Ok(Outcome::Drained));
    let took = start.elapsed();
    assert!(
        took > Duration::from_millis(500) && took < Duration::from_secs(6),
        "{took:?}"
    );
}

#[tokio::test]
async fn a_listener_stops_at_once_with_streams_open_and_withdrawals_waiting() {
    let director = busy(None).await;
    let node = node(director.address, None);
    let withdrawal = withdrawn(&node, LIMIT).await;
    director.end().await;
    assert!(!withdrawal.is_finished());
}

#[tokio::test]
async fn a_hint_that_makes_no_sense_is_refused_and_the_stream_goes_on() {
    let (log, _guard) = Log::start();
    let director = busy(None).await;
    let node = node(director.address, None);
    let withdrawal = withdrawn(&node, LIMIT).await;
    let refused = node
        .tell("no-id", "www", Hint::Exited, Duration::ZERO)
        .await;
    let why = "\"no-id\" is no allocation's id";
    assert!(
        matches!(&refused, Err(NoAnswer::Refused(text)) if text.contains(why)),
        "{refused:?}"
    );
    assert_eq!(log.with("refused a hint").len(), 1);
    director.drain();
    assert_eq!(withdrawal.await.unwrap(), Ok(Outcome::Drained));
}

#[tokio::test]
async fn only_so_many_withdrawals_of_a_node_wait() {
    let director = busy(None).await;
    let node = node(director.address, None);
    let limit = Duration::from_secs(2);
    let mut answers = Vec::new();
    for number in 0..300 {
        let task = format!("task-{number}");
        // An allocation that Nomad does not list is waited for for a while.
        answers.push(node.tell(OTHER, &task, Hint::Withdrawn, limit));
    }
    let outcomes = futures_util::future::join_all(answers).await;
    let refused = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Err(NoAnswer::Refused(_))));
    assert_eq!(refused.count(), 300 - 256);
}

#[tokio::test]
async fn half_open_connections_keep_no_node_out_and_most_are_ended() {
    crate::files::raise_limit().unwrap();
    let ca = Authority::new();
    let director = director("127.0.0.1:0", Some(&ca.issue("director")), Some(0)).await;
    let mut half_open = Vec::new();
    for _ in 0..600 {
        half_open.push(TcpStream::connect(director.address).await.unwrap());
    }
    let node = node(director.address, Some(&ca.issue("node")));
    let started = Instant::now();
    let withdrawal = node.tell(&ID.to_string(), "www", Hint::Withdrawn, LIMIT);
    assert_eq!(withdrawal.await, Ok(Outcome::Drained));
    assert!(started.elapsed() < Duration::from_secs(3));
    let is_open = |stream: &TcpStream| {
        let read = stream.try_read(&mut [0]);
        matches!(read, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    };
    let few = || half_open.iter().filter(|stream| is_open(stream)).count() <= 128;
    until("few half-open connections", few).await;
    // The node's own stream is none of them: it goes on.
    let exit = node.tell(&ID.to_string(), "www", Hint::Exited, Duration::ZERO);
    assert_eq!(exit.await, Ok(Outcome::Noted));
}

#[tokio::test(start_paused = true)]
async fn a_connection_on_which_nothing_is_asked_is_ended_in_time() {
    let director = director("127.0.0.1:0", None, Some(0)).await;
    let mut silent = TcpStream::connect(director.address).await.unwrap();
    let started = Instant::now();
    let mut rest = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut silent, &mut rest);
    let _ = tokio::time::timeout(Duration::from_mins(1), read)
        .await
        .expect("an end");
    assert!(started.elapsed() >= Duration::from_secs(10));
}

#[tokio::test]
async fn a_node_says_nothing_about_tasks_of_another_node_and_is_told_why() {
    let (log, _guard) = Log::start();
    let ca = Authority::new();
    let director = busy(Some(&ca.issue("director"))).await;
    let thief = node(director.address, Some(&ca.issue_for("node2", "node2")));
    for hint in [Hint::Exited, Hint::Withdrawn, Hint::Running] {
        let answer = thief.tell(&ID.to_string(), "www", hint, LIMIT).await;
        let Err(NoAnswer::Refused(why)) = answer else {
            panic!("{answer:?}");
        };
        assert!(why.contains("is on Nomad node node1 (n)"), "{why}");
        assert!(why.contains("subject alternative names"), "{why}");
    }
    assert_eq!(director.around.barrier.board.version(), 0);
    assert!(!log.with("a hint is refused").is_empty());
    for name in ["node1", "198.18.0.11"] {
        let own = node(director.address, Some(&ca.issue_for(name, name)));
        let answer = own.tell(&ID.to_string(), "www", Hint::Exited, Duration::ZERO);
        assert_eq!(answer.await, Ok(Outcome::Noted), "{name}");
    }
}

#[tokio::test]
async fn a_flood_of_one_node_is_slowed_down_and_another_node_does_not_notice() {
    let ca = Authority::new();
    let director = busy(Some(&ca.issue("director"))).await;
    let flooding = node(director.address, Some(&ca.issue("node1")));
    let started = Instant::now();
    // Twice what passes at once; the link itself lets no more wait.
    let flood = (0..1000).map(|_| flooding.tell(OTHER, "www", Hint::Running, Duration::ZERO));
    let flood: Vec<_> = flood.collect();
    let flood = tokio::spawn(futures_util::future::join_all(flood));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let other = node(director.address, Some(&ca.issue("node1-again")));
    let start = Instant::now();
    let exit = other.tell(&ID.to_string(), "www", Hint::Exited, Duration::ZERO);
    assert_eq!(exit.await, Ok(Outcome::Noted));
    assert!(
        start.elapsed() < Duration::from_millis(700),
        "{:?}",
        start.elapsed()
    );
    let outcomes = flood.await.unwrap();
    let taken = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let most = 512 + started.elapsed().as_millis() / 20 + 2;
    assert!(taken as u128 <= most, "{taken} of {}", outcomes.len());
}
