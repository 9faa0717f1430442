//! What a hint says, about whom, and for how long.

use super::*;
use crate::model::fleet::{ClientStatus, Port, Task};

const ID: AllocId = AllocId(1);

fn task(name: &str, state: TaskState, started: &str) -> Task {
    Task {
        name: name.into(),
        state,
        started: Some(started.into()),
    }
}

fn alloc(task_of_port: Option<&str>, tasks: Vec<Task>) -> Fleet {
    Fleet::new([Allocation {
        id: ID,
        namespace: "default".into(),
        job: "web".into(),
        group: "web".into(),
        node_id: "n".into(),
        node_name: "node1".into(),
        client: ClientStatus::Running,
        wanted: true,
        tasks,
        ports: vec![Port {
            label: "http".into(),
            address: "198.18.0.11:20000".parse().unwrap(),
            task: task_of_port.map(Into::into),
            registered_by_nomad: Some(true),
        }],
        created: 1,
    }])
}

fn running(started: &str) -> Fleet {
    alloc(Some("www"), vec![task("www", TaskState::Running, started)])
}

fn phases(board: &Board, fleet: &Fleet, answered: Option<Instant>) -> Vec<Phase> {
    let nomad = Answered {
        fleet,
        at: answered,
    };
    board.phases(Some(nomad)).into_values().collect()
}

#[tokio::test(start_paused = true)]
async fn the_end_of_an_init_task_says_nothing_about_the_server_beside_it() {
    let board = Board::default();
    let tasks = || {
        vec![
            task("init", TaskState::Dead, "1"),
            task("www", TaskState::Running, "2"),
        ]
    };
    for port_of in [None, Some("www")] {
        board.tell(ID, "init", Hint::Exited, Duration::ZERO);
        assert!(phases(&board, &alloc(port_of, tasks()), None).is_empty());
    }
    board.tell(ID, "www", Hint::Exited, Duration::ZERO);
    let own = alloc(Some("www"), tasks());
    assert_eq!(phases(&board, &own, None), [Phase::Complete]);
}

#[tokio::test(start_paused = true)]
async fn an_exit_counts_for_seconds_against_a_nomad_that_answers_and_longer_against_a_silent_one() {
    let board = Board::default();
    let told = Instant::now();
    board.tell(ID, "www", Hint::Exited, Duration::ZERO);
    let fleet = running("1");
    let after = told + Duration::from_secs(1);
    tokio::time::advance(Duration::from_millis(14_999)).await;
    assert_eq!(phases(&board, &fleet, Some(after)), [Phase::Complete]);
    tokio::time::advance(Duration::from_mins(1)).await;
    assert_eq!(phases(&board, &fleet, Some(told)), [Phase::Complete]);
    assert!(phases(&board, &fleet, Some(after)).is_empty());
    board.tell(ID, "www", Hint::Exited, Duration::ZERO);
    tokio::time::advance(KEPT).await;
    assert!(phases(&board, &fleet, None).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_start_that_nomad_shows_takes_back_what_was_told_before_it() {
    let board = Board::default();
    board.tell(ID, "www", Hint::Exited, Duration::ZERO);
    assert_eq!(phases(&board, &running("1"), None), [Phase::Complete]);
    assert!(phases(&board, &running("2"), None).is_empty());
    assert!(phases(&board, &running("1"), None).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_withdrawal_counts_until_its_deadline_and_a_little_longer() {
    let board = Board::default();
    let limit = Duration::from_secs(20);
    board.tell(ID, "www", Hint::Withdrawn, limit);
    tokio::time::advance(Duration::from_millis(49_999)).await;
    assert_eq!(phases(&board, &running("1"), None), [Phase::Stopping]);
    assert_eq!(
        board.next_end(),
        Some(Instant::now() + Duration::from_millis(1))
    );
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(phases(&board, &running("1"), None).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_port_that_another_allocation_has_by_now_is_not_touched() {
    let board = Board::default();
    board.tell(ID, "www", Hint::Exited, Duration::ZERO);
    let old = running("1").get(ID).unwrap().clone();
    let mut new = old.clone();
    (new.id, new.created) = (AllocId(2), 2);
    assert!(phases(&board, &Fleet::new([old, new]), None).is_empty());
}
