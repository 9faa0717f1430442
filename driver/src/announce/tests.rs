use std::sync::{Arc, Mutex};

use nomad_ipvs_proto::syncer::syncer_server::{Syncer, SyncerServer};
use nomad_ipvs_proto::syncer::{AnnounceResponse, DirectorOutcome, ExitedResponse};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

use super::*;

/// Writes down what it is told and says that one director has drained.
#[derive(Debug, Clone, Default)]
struct Recorder {
    messages: Arc<Mutex<Vec<String>>>,
}

impl Recorder {
    fn note(&self, message: String) {
        self.messages.lock().unwrap().push(message);
    }
}

#[tonic::async_trait]
impl Syncer for Recorder {
    async fn announce(
        &self,
        request: Request<AnnounceRequest>,
    ) -> Result<Response<AnnounceResponse>, Status> {
        let request = request.into_inner();
        let ports: Vec<_> = request
            .ports
            .iter()
            .map(|port| format!("{}={}:{}", port.label, port.host_ip, port.host_port))
            .collect();
        self.note(format!(
            "announce {} {} {} {}",
            request.alloc_id,
            request.task,
            request.pid,
            ports.join(",")
        ));
        Ok(Response::new(AnnounceResponse {}))
    }

    async fn exited(
        &self,
        request: Request<ExitedRequest>,
    ) -> Result<Response<ExitedResponse>, Status> {
        let request = request.into_inner();
        self.note(format!("exited {} {}", request.alloc_id, request.task));
        Ok(Response::new(ExitedResponse {}))
    }

    async fn withdraw(
        &self,
        request: Request<WithdrawRequest>,
    ) -> Result<Response<WithdrawResponse>, Status> {
        let request = request.into_inner();
        self.note(format!(
            "withdraw {} {} {}",
            request.alloc_id,
            request.task,
            request.deadline.unwrap_or_default().seconds
        ));
        let directors = vec![DirectorOutcome {
            director: "lb1".into(),
            outcome: Outcome::Drained.into(),
        }];
        Ok(Response::new(WithdrawResponse { directors }))
    }
}

fn subject() -> Subject {
    let port = PublishedPort {
        label: "www".into(),
        host_ip: "198.18.0.11".into(),
        host_port: 23747,
        container_port: 8001,
    };
    Subject {
        alloc_id: "a1".into(),
        task: "web".into(),
        ports: vec![port],
    }
}

#[tokio::test]
async fn the_syncer_hears_of_a_tasks_whole_life() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("syncer.sock");
    let recorder = Recorder::default();
    let incoming = UnixListenerStream::new(UnixListener::bind(&socket).unwrap());
    let server =
        tonic::transport::Server::builder().add_service(SyncerServer::new(recorder.clone()));
    let server = tokio::spawn(server.serve_with_incoming(incoming));

    let announcer = Announcer::new(&socket, subject());
    announcer.announce(Some(4711), None).await;
    assert_eq!(
        announcer.withdraw(Duration::from_secs(30)).await,
        "lb1: drained"
    );
    announcer.report_exit().await;
    server.abort();
    let expected = [
        "announce a1 web 4711 www=198.18.0.11:23747",
        "withdraw a1 web 30",
        "exited a1 web",
    ];
    assert_eq!(*recorder.messages.lock().unwrap(), expected);
}

#[tokio::test]
async fn a_syncer_that_does_not_answer_holds_nothing_back_for_long() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("syncer.sock");
    // Accepts connections and never says a word.
    let _silent = UnixListener::bind(&socket).unwrap();
    let announcer = Announcer::new(&socket, subject());
    let calls = async {
        announcer.report_exit().await;
        announcer.withdraw(Duration::from_millis(200)).await
    };
    let answer = tokio::time::timeout(Duration::from_secs(5), calls)
        .await
        .unwrap();
    assert!(answer.contains("did not answer"), "{answer}");
}

#[tokio::test]
async fn without_a_syncer_a_withdrawal_ends_at_once_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let announcer = Announcer::new(dir.path().join("syncer.sock"), subject());
    let withdrawal = announcer.withdraw(Duration::from_mins(1));
    let answer = tokio::time::timeout(Duration::from_secs(5), withdrawal)
        .await
        .unwrap();
    assert!(answer.contains("does not answer"), "{answer}");
    announcer.report_exit().await;
}

#[test]
fn each_directors_outcome_is_told() {
    let director = |name: &str, outcome: Outcome| DirectorOutcome {
        director: name.into(),
        outcome: outcome.into(),
    };
    let answer = WithdrawResponse {
        directors: vec![
            director("lb1", Outcome::Drained),
            director("lb2", Outcome::TimedOut),
        ],
    };
    assert_eq!(sentence(&answer), "lb1: drained, lb2: not drained in time");
    assert_eq!(
        sentence(&WithdrawResponse::default()),
        "no load balancer sends to this task"
    );
}

#[tokio::test(start_paused = true)]
async fn a_start_does_not_wait_for_a_syncer_that_hangs_and_the_end_does_not_overtake_it() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("syncer.sock");
    let _silent = UnixListener::bind(&socket).unwrap();
    let announcer = Announcer::new(&socket, subject());
    let begin = tokio::time::Instant::now();
    announcer.announce(Some(4711), None).await;
    assert_eq!(begin.elapsed(), Duration::ZERO);
    announcer.report_exit().await;
    assert!(
        (HINT_TIMEOUT..HINT_TIMEOUT * 3).contains(&begin.elapsed()),
        "{:?}",
        begin.elapsed()
    );
}

#[tokio::test]
async fn the_longest_drain_there_is_does_not_end_the_plugin() {
    let announcer = Announcer::new("/nowhere/syncer.sock", subject());
    let answer = announcer.withdraw(Duration::MAX).await;
    assert!(answer.contains("does not answer"), "{answer}");
}
