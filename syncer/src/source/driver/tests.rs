//! What a hint says, about whom, and for how long.

use syncer_core::model::fleet::{ClientStatus, Port, Task, TaskState};

use super::*;

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

fn phases(board: &Board, fleet: &Fleet) -> Vec<Phase> {
    board.phases(Some(fleet)).into_values().collect()
}

fn tell(board: &Board, task: &str, hint: Hint, limit: Duration) {
    board
        .tell(&Speaker::Anybody, ID, task, hint, limit)
        .unwrap();
}

/// Known by a certificate that is none; it speaks for nobody.
fn node(number: u8) -> Speaker {
    Speaker::Node(Arc::new(vec![number].into()))
}

const LIMIT: Duration = Duration::from_secs(20);

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
        tell(&board, "init", Hint::Exited, Duration::ZERO);
        assert!(phases(&board, &alloc(port_of, tasks())).is_empty());
    }
    tell(&board, "www", Hint::Exited, Duration::ZERO);
    let own = alloc(Some("www"), tasks());
    assert_eq!(phases(&board, &own), [Phase::Complete]);
}

#[tokio::test(start_paused = true)]
async fn an_exit_counts_15_seconds_whatever_nomad_says_or_does_not_say() {
    let board = Board::default();
    tell(&board, "www", Hint::Exited, Duration::ZERO);
    let fleet = running("1");
    tokio::time::advance(Duration::from_millis(14_999)).await;
    assert_eq!(phases(&board, &fleet), [Phase::Complete]);
    let left = Instant::now() + Duration::from_millis(1);
    assert_eq!(board.next_end(), Some(left));
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(phases(&board, &fleet).is_empty());
    assert_eq!(board.next_end(), None);
}

#[tokio::test(start_paused = true)]
async fn a_hint_that_is_repeated_or_taken_back_between_counts_no_longer_than_the_first() {
    let board = Board::default();
    let fleet = running("1");
    let started = Instant::now();
    let mut down = Duration::ZERO;
    // Every 100 ms for ten minutes: all three kinds, as a thief of a node's key may.
    while started.elapsed() < Duration::from_mins(10) {
        tell(&board, "www", Hint::Exited, Duration::ZERO);
        tell(&board, "www", Hint::Running, Duration::ZERO);
        tell(&board, "www", Hint::Withdrawn, LIMIT);
        tell(&board, "www", Hint::Exited, Duration::ZERO);
        if !phases(&board, &fleet).is_empty() {
            down += Duration::from_millis(100);
        }
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    assert_eq!(down, LIMIT + WITHDRAWAL_MARGIN);
    // And what changes nothing wakes nobody.
    let version = board.version();
    tell(&board, "www", Hint::Exited, Duration::ZERO);
    tell(&board, "www", Hint::Withdrawn, LIMIT);
    tell(&board, "www", Hint::Running, Duration::ZERO);
    assert_eq!(board.version(), version);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_nomad_shows_takes_back_what_was_told_before_it_and_its_end_counts_anew() {
    let board = Board::default();
    tell(&board, "www", Hint::Exited, Duration::ZERO);
    assert_eq!(phases(&board, &running("1")), [Phase::Complete]);
    tokio::time::advance(EXIT_LIMIT).await;
    tell(&board, "www", Hint::Exited, Duration::ZERO);
    assert!(
        phases(&board, &running("1")).is_empty(),
        "of the same start"
    );
    assert!(phases(&board, &running("2")).is_empty());
    tell(&board, "www", Hint::Exited, Duration::ZERO);
    assert_eq!(phases(&board, &running("2")), [Phase::Complete]);
}

#[tokio::test(start_paused = true)]
async fn a_withdrawal_counts_until_its_deadline_and_a_little_longer() {
    let board = Board::default();
    tell(&board, "www", Hint::Withdrawn, LIMIT);
    tokio::time::advance(Duration::from_millis(49_999)).await;
    assert_eq!(phases(&board, &running("1")), [Phase::Stopping]);
    assert_eq!(
        board.next_end(),
        Some(Instant::now() + Duration::from_millis(1))
    );
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(phases(&board, &running("1")).is_empty());
    let longest = Duration::from_hours(1);
    let board = Board::default();
    tell(&board, "www", Hint::Withdrawn, longest);
    tokio::time::advance(LONGEST_WITHDRAWAL + WITHDRAWAL_MARGIN).await;
    assert!(phases(&board, &running("1")).is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_exit_goes_before_a_withdrawal_whichever_is_told_first() {
    for order in [
        [Hint::Exited, Hint::Withdrawn],
        [Hint::Withdrawn, Hint::Exited],
    ] {
        let board = Board::default();
        for hint in order {
            tell(&board, "www", hint, LIMIT);
        }
        assert_eq!(
            phases(&board, &running("1")),
            [Phase::Complete],
            "{order:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_port_that_another_allocation_has_by_now_is_not_touched() {
    let board = Board::default();
    tell(&board, "www", Hint::Exited, Duration::ZERO);
    let old = running("1").get(ID).unwrap().clone();
    let mut new = old.clone();
    (new.id, new.created) = (AllocId(2), 2);
    assert!(phases(&board, &Fleet::new([old, new])).is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_another_node_told_before_nomad_listed_the_allocation_is_forgotten_then() {
    let board = Board::default();
    board
        .tell(&node(1), ID, "www", Hint::Exited, Duration::ZERO)
        .unwrap();
    assert!(phases(&board, &running("1")).is_empty());
    assert!(board.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_is_replaced_begins_no_new_time() {
    let board = Board::default();
    tell(&board, "www", Hint::Exited, Duration::ZERO);
    tokio::time::advance(EXIT_LIMIT).await;
    let exit = board.tell(&node(1), ID, "www", Hint::Exited, Duration::ZERO);
    assert_eq!((exit, board.next_end()), (Ok(()), None));
}

#[tokio::test(start_paused = true)]
async fn notes_are_bounded_a_node_and_altogether_and_go_when_they_are_of_no_use() {
    let board = Board::default();
    let tell = |speaker: &Speaker, number: usize| {
        let id = AllocId(number as u128 + 10);
        board.tell(speaker, id, "www", Hint::Exited, Duration::ZERO)
    };
    for number in 0..NODE_NOTES {
        tell(&node(0), number).unwrap();
    }
    assert_eq!(tell(&node(0), NODE_NOTES), Err(Refusal::NodeFull));
    tell(&node(0), 0).expect("what is noted may be told again");
    for number in NODE_NOTES..ALL_NOTES {
        tell(&Speaker::Anybody, number).unwrap();
    }
    assert_eq!(tell(&node(1), ALL_NOTES), Err(Refusal::Full));
    // Nomad is not read, or does not list them.
    assert_eq!(board.lock().len(), ALL_NOTES);
    tokio::time::advance(EXIT_LIMIT).await;
    board.phases(None);
    assert!(board.lock().is_empty());
}
