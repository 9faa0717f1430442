//! The barrier beside a loop that publishes as it is told.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use ipvs::{
    Connections, Forwarding, RealServer, Scheduler, ServiceSettings, Thresholds, VirtualService,
};
use syncer_core::desired::{Declared, Desired, DesiredService, Endpoint, Want};
use syncer_core::model::fleet::{Allocation, ClientStatus, Phase, Port, Task, TaskState};
use syncer_core::model::safeguard::Safeguards;

use super::*;

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

const REAL: &str = "198.18.0.11:20000";

/// What a loop publishes that has one real server of that weight, or none, and has seen as many hints.
fn passed(weight: Option<u32>, hints: u64) -> PassState {
    let id: ServiceId = "198.18.0.29:80".parse().unwrap();
    let address: SocketAddr = REAL.parse().unwrap();
    let settings = ServiceSettings::new(Scheduler::WRR);
    let reals = weight.map(|weight| RealServer {
        address,
        weight: Weight::saturating(weight),
        forwarding: Forwarding::Masquerade,
        thresholds: Thresholds::default(),
    });
    let endpoint = Endpoint {
        address,
        want: Want::Keep,
        phase: None,
        health: None,
        alloc: Some(ID),
        held: false,
    };
    let wanted = DesiredService {
        name: "web".into(),
        settings,
        forwarding: Forwarding::Masquerade,
        snat: false,
        drain: LIMIT,
        safeguards: Safeguards::default(),
        declared: Declared::Config,
        complete: true,
        endpoints: vec![endpoint],
    };
    let (mut state, mut desired) = (PassState::default(), Desired::default());
    (state.read, state.hints) = (true, hints);
    (desired.services, desired.complete) = ([(id, Arc::new(wanted))].into(), true);
    let table = [(
        id,
        VirtualService::new(settings, reals.into_iter().collect()),
    )];
    state.follow_whole(&desired, &table.into_iter().collect());
    state
}

pub(in crate::hints) struct Around {
    pub(in crate::hints) barrier: Barrier,
    fleet: watch::Sender<Published<Fleet>>,
    pub(in crate::hints) weight: Arc<Mutex<Option<u32>>>,
    pub(in crate::hints) active: Arc<Mutex<Option<u32>>>,
    /// The loop makes no passes any more.
    pub(in crate::hints) hangs: Arc<AtomicBool>,
}

/// A loop that has one real server of that weight, or none, and makes a pass every few milliseconds.
pub(in crate::hints) fn around(weight: Option<u32>) -> Around {
    let (fleet, fleet_feed) = watch::channel(Published::default());
    let (publisher, passes) = watch::channel(Arc::new(passed(weight, 0)));
    let (weight, active) = (Arc::new(Mutex::new(weight)), Arc::new(Mutex::new(Some(0))));
    let (hangs, board) = (Arc::new(AtomicBool::new(false)), Board::default());
    let (now, stuck, hints) = (Arc::clone(&weight), Arc::clone(&hangs), board.clone());
    tokio::spawn(async move {
        while !publisher.is_closed() {
            tokio::time::sleep(Duration::from_millis(5)).await;
            if !stuck.load(Ordering::SeqCst) {
                let weight = *now.lock().unwrap();
                publisher.send_replace(Arc::new(passed(weight, hints.version())));
            }
        }
    });
    let counted = Arc::clone(&active);
    let count: Count = Arc::new(move |ids| {
        assert_eq!(
            ids,
            ["198.18.0.29:80".parse().unwrap()],
            "its own services only"
        );
        let active = *counted.lock().unwrap();
        let counts = active.map(|active| {
            let connections = Connections {
                active,
                ..Connections::default()
            };
            ((ids[0], REAL.parse().unwrap()), connections)
        });
        Box::pin(async move { counts.into_iter().collect() })
    });
    let barrier = Barrier {
        board,
        fleet: fleet_feed,
        passes,
        count,
        offers: Offers::default(),
    };
    Around {
        barrier,
        fleet,
        weight,
        active,
        hangs,
    }
}

impl Around {
    pub(in crate::hints) fn read(&self, fleet: Fleet) {
        self.fleet
            .send_modify(|published| published.view = Some(Arc::new(fleet)));
    }

    async fn withdraw(&self, task: &str) -> (Outcome, Duration) {
        let started = Instant::now();
        let withdrawn = Hint::Withdrawn;
        let outcome = self
            .barrier
            .take(&Speaker::Anybody, ID, task, withdrawn, LIMIT)
            .await;
        (outcome.unwrap(), started.elapsed())
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
    assert!(
        took >= UNLISTED_WAIT && took < UNLISTED_WAIT * 2,
        "{took:?}"
    );
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
    *around.active.lock().unwrap() = Some(1);
    let drain = async {
        *around.weight.lock().unwrap() = Some(0);
        tokio::time::sleep(Duration::from_secs(3)).await;
        *around.active.lock().unwrap() = Some(0);
    };
    let ((outcome, took), ()) = tokio::join!(around.withdraw("www"), drain);
    assert_eq!(outcome, Outcome::Drained);
    assert!(took >= Duration::from_secs(3), "{took:?}");
    *around.active.lock().unwrap() = Some(1);
    assert_eq!(around.withdraw("www").await, (Outcome::TimedOut, LIMIT));
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_makes_no_pass_is_not_waited_for_beyond_the_deadline_and_nothing_is_concluded()
{
    for weight in [None, Some(0), Some(1)] {
        let around = around(weight);
        around.read(fleet());
        around.hangs.store(true, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(around.withdraw("www").await, (Outcome::TimedOut, LIMIT));
    }
}

#[tokio::test(start_paused = true)]
async fn connections_that_can_t_be_counted_are_not_taken_for_none() {
    let around = around(Some(0));
    around.read(fleet());
    *around.active.lock().unwrap() = None;
    assert_eq!(around.withdraw("www").await, (Outcome::TimedOut, LIMIT));
    *around.active.lock().unwrap() = Some(0);
    assert_eq!(around.withdraw("www").await.0, Outcome::Drained);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_is_gone_here_is_waited_for_until_its_node_lets_go() {
    let around = around(None);
    around.read(fleet());
    let key = (
        "udp://198.18.0.29:7".parse().unwrap(),
        REAL.parse().unwrap(),
    );
    let node = "198.18.0.11".parse().unwrap();
    let offers = &around.barrier.offers;
    let taken = [(key, Weight::saturating(1))].into();
    offers.take(node, taken, BTreeSet::new());
    let let_go = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        offers.take(node, BTreeMap::new(), BTreeSet::new());
    };
    let ((outcome, took), ()) = tokio::join!(around.withdraw("www"), let_go);
    assert_eq!(outcome, Outcome::Drained);
    assert!(took >= Duration::from_secs(3), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn an_exit_that_comes_while_a_withdrawal_waits_stays() {
    let around = around(Some(1));
    around.read(fleet());
    let exit = async {
        let board = &around.barrier.board;
        let speaker = &Speaker::Anybody;
        board
            .tell(speaker, ID, "www", Hint::Exited, Duration::ZERO)
            .unwrap();
        *around.weight.lock().unwrap() = None;
    };
    let ((outcome, _), ()) = tokio::join!(around.withdraw("www"), exit);
    assert_eq!(outcome, Outcome::Drained);
    let phases = around.barrier.board.phases(Some(&fleet()));
    assert_eq!(phases.into_values().collect::<Vec<_>>(), [Phase::Complete]);
}

#[tokio::test(start_paused = true)]
async fn what_a_task_that_serves_nothing_does_reaches_neither_board_nor_loop() {
    let around = around(Some(1));
    around.read(fleet());
    for hint in [Hint::Exited, Hint::Withdrawn, Hint::Running] {
        let barrier = &around.barrier;
        let outcome = barrier.take(&Speaker::Anybody, ID, "sidecar", hint, LIMIT);
        assert!(outcome.await.is_ok());
    }
    assert_eq!(around.barrier.board.version(), 0);
    let unknown = around
        .barrier
        .take(&Speaker::Anybody, ID, "none", Hint::Exited, LIMIT);
    assert!(matches!(unknown.await, Err(HintRefusal::NoTask { .. })));
}
