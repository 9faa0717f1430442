//! The barrier before a loop that answers as told.

use std::sync::{Arc, Mutex};

use ipvs::Connections;

use super::*;
use crate::director::Counts;
use crate::model::fleet::{Allocation, ClientStatus, Port, Task, TaskState};
use crate::reconcile::Told;
use crate::status::{Acknowledged, Service};

pub(in crate::hints) const ID: AllocId = AllocId(1);
const LIMIT: Duration = Duration::from_secs(20);

pub(in crate::hints) fn fleet() -> Fleet {
    let task = |name: &str| Task {
        name: name.into(),
        state: TaskState::Running,
        started: Some("1".into()),
    };
    Fleet::new([Allocation {
        id: ID,
        namespace: "default".into(),
        job: "web".into(),
        group: "web".into(),
        node_id: "n".into(),
        node_name: "node1".into(),
        client: ClientStatus::Running,
        wanted: true,
        tasks: vec![task("www"), task("sidecar")],
        ports: vec![Port {
            label: "http".into(),
            address: "198.18.0.11:20000".parse().unwrap(),
            task: Some("www".into()),
            registered_by_nomad: Some(true),
        }],
        created: 1,
    }])
}

fn real(weight: Option<u32>) -> RealServerView {
    RealServerView {
        address: "198.18.0.11:20000".into(),
        alloc: Some(ID.to_string()),
        job: None,
        group: None,
        task: None,
        node: None,
        nomad: None,
        consul: "passing".into(),
        weight,
        active: None,
        inactive: None,
        state: "active".into(),
        why: String::new(),
        deadline_ms: None,
    }
}

fn told(reals: Vec<RealServerView>) -> Told {
    Told {
        ready: true,
        stale: false,
        pass: None,
        services: vec![Service {
            name: "web".into(),
            vip: "198.18.0.29:80".into(),
            protocol: "tcp".into(),
            scheduler: ipvs::Scheduler::WRR,
            forward: "masq".into(),
            snat: false,
            declared: "config".into(),
            real_servers: reals,
        }],
        ids: Vec::new(),
        rejected: Vec::new(),
        held: None,
        errors: Vec::new(),
        kernel_ack: Acknowledged::default(),
    }
}

pub(in crate::hints) struct Around {
    pub(in crate::hints) barrier: Barrier,
    fleet: watch::Sender<Published<Fleet>>,
    pub(in crate::hints) weight: Arc<Mutex<Option<u32>>>,
    pub(in crate::hints) active: Arc<Mutex<u32>>,
}

/// A loop that has one real server of that weight, or none.
pub(in crate::hints) fn around(weight: Option<u32>) -> Around {
    let (fleet, seen) = watch::channel(Published::default());
    let (ask, mut asked) = mpsc::channel::<oneshot::Sender<Told>>(1);
    let (weight, active) = (Arc::new(Mutex::new(weight)), Arc::new(Mutex::new(0)));
    let answers = Arc::clone(&weight);
    tokio::spawn(async move {
        while let Some(answer) = asked.recv().await {
            let weight = *answers.lock().unwrap();
            let reals = weight.map(|weight| real(Some(weight)));
            let _ = answer.send(told(reals.into_iter().collect()));
        }
    });
    let counted = Arc::clone(&active);
    let count: Count = Arc::new(move |_| {
        let active = *counted.lock().unwrap();
        let key = (
            "198.18.0.29:80".parse().unwrap(),
            "198.18.0.11:20000".parse().unwrap(),
        );
        let connections = Connections {
            active,
            ..Connections::default()
        };
        Box::pin(async move { Counts::from([(key, connections)]) })
    });
    let barrier = Barrier {
        board: Board::default(),
        fleet: Some(seen),
        ask,
        count,
    };
    Around {
        barrier,
        fleet,
        weight,
        active,
    }
}

impl Around {
    pub(in crate::hints) fn read(&self, fleet: Fleet) {
        self.fleet
            .send_modify(|published| published.view = Some(Arc::new(fleet)));
    }

    async fn withdraw(&self, task: &str) -> (Outcome, Duration) {
        let started = Instant::now();
        let outcome = self.barrier.take(ID, task, Hint::Withdrawn, LIMIT).await;
        (outcome, started.elapsed())
    }
}

#[tokio::test(start_paused = true)]
async fn a_director_that_has_not_read_nomad_does_not_say_that_it_has_nothing_of_it() {
    let around = around(None);
    assert_eq!(around.withdraw("www").await, (Outcome::TimedOut, LIMIT));
    around.read(fleet());
    assert_eq!(around.withdraw("www").await.0, Outcome::Absent);
}

#[tokio::test(start_paused = true)]
async fn what_nomad_does_not_list_is_known_by_the_catalogue_and_else_absent_soon() {
    let around = around(None);
    around.read(Fleet::default());
    let (outcome, took) = around.withdraw("www").await;
    assert_eq!(outcome, Outcome::Absent);
    assert!(took >= UNLISTED && took < UNLISTED * 2, "{took:?}");
    *around.weight.lock().unwrap() = Some(1);
    let quiesce = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        *around.weight.lock().unwrap() = Some(0);
    };
    let ((outcome, took), ()) = tokio::join!(around.withdraw("www"), quiesce);
    assert_eq!(outcome, Outcome::Drained);
    assert!(took >= Duration::from_secs(5), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn open_connections_are_waited_for_and_a_sidecar_waits_for_nobody() {
    let around = around(Some(1));
    around.read(fleet());
    assert_eq!(around.withdraw("sidecar").await.0, Outcome::Absent);
    *around.active.lock().unwrap() = 1;
    let drain = async {
        *around.weight.lock().unwrap() = Some(0);
        tokio::time::sleep(Duration::from_secs(3)).await;
        *around.active.lock().unwrap() = 0;
    };
    let ((outcome, took), ()) = tokio::join!(around.withdraw("www"), drain);
    assert_eq!(outcome, Outcome::Drained);
    assert!(took >= Duration::from_secs(3), "{took:?}");
    *around.active.lock().unwrap() = 1;
    assert_eq!(around.withdraw("www").await, (Outcome::TimedOut, LIMIT));
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_does_not_answer_is_not_waited_for_beyond_the_deadline() {
    let mut around = around(Some(1));
    around.read(fleet());
    let (ask, _asked) = mpsc::channel(1);
    around.barrier.ask = ask;
    assert_eq!(around.withdraw("www").await, (Outcome::TimedOut, LIMIT));
}

#[tokio::test(start_paused = true)]
async fn an_exit_that_comes_while_a_withdrawal_looks_what_serves_stays() {
    let around = around(Some(1));
    around.read(fleet());
    let exit = async {
        let board = &around.barrier.board;
        board.tell(ID, "www", Hint::Exited, Duration::ZERO);
        *around.weight.lock().unwrap() = None;
    };
    let ((outcome, _), ()) = tokio::join!(around.withdraw("www"), exit);
    assert_eq!(outcome, Outcome::Absent);
    let (fleet, at) = (fleet(), None);
    let nomad = crate::source::driver::Answered { fleet: &fleet, at };
    let phases = around.barrier.board.phases(Some(nomad));
    assert!(phases.values().all(|phase| phase.over()), "{phases:?}");
    assert_eq!(phases.len(), 1);
}
