use std::time::Duration;

use nomad_ipvs_proto::hints::Outcome as Wire;

use super::*;

type AnswerReceiver = oneshot::Receiver<Result<Outcome, NoAnswer>>;

fn order(task: &str, hint: Hint) -> (Order, AnswerReceiver) {
    let (answer, answered) = oneshot::channel();
    let order = Order {
        alloc: "a".into(),
        task: task.into(),
        hint,
        until: Instant::now() + Duration::from_secs(5),
        answer,
    };
    (order, answered)
}

fn take(pending: &mut Pending, task: &str, hint: Hint) -> AnswerReceiver {
    let (order, answered) = order(task, hint);
    pending.take(order);
    answered
}

fn numbers(pending: &mut Pending) -> Vec<u64> {
    std::iter::from_fn(|| pending.next(Instant::now()))
        .map(|message| message.number)
        .collect()
}

fn answer(number: u64, outcome: i32) -> Answer {
    Answer {
        number,
        result: Some(Verdict::Outcome(outcome)),
    }
}

#[tokio::test(start_paused = true)]
async fn each_is_told_once_a_stream_and_again_on_the_next_unless_it_was_answered() {
    let mut pending = Pending::default();
    let mut first = take(&mut pending, "www", Hint::Withdrawn);
    let mut second = take(&mut pending, "db", Hint::Exited);
    assert_eq!(numbers(&mut pending), [1, 2]);
    assert!(numbers(&mut pending).is_empty());
    assert_eq!(pending.answer(answer(2, Wire::Noted.into())), None);
    assert_eq!(second.try_recv(), Ok(Ok(Outcome::Noted)));
    pending.broken();
    tokio::time::advance(Duration::from_secs(2)).await;
    let again = pending.next(Instant::now()).unwrap();
    // What is left of its time.
    assert_eq!((again.number, again.deadline.unwrap().seconds), (1, 3));
    assert_eq!(pending.answer(answer(1, Wire::TimedOut.into())), None);
    assert_eq!(first.try_recv(), Ok(Ok(Outcome::TimedOut)));
    pending.broken();
    assert!(numbers(&mut pending).is_empty());
}

#[tokio::test]
async fn a_later_hint_ends_the_tries_of_an_earlier_one_about_the_same_task() {
    let mut pending = Pending::default();
    let mut untold = take(&mut pending, "www", Hint::Withdrawn);
    let _other = take(&mut pending, "db", Hint::Withdrawn);
    let mut told_once = take(&mut pending, "www", Hint::Withdrawn);
    assert_eq!(untold.try_recv(), Ok(Err(NoAnswer::Superseded)));
    assert_eq!(numbers(&mut pending), [2, 3]);
    let _exit = take(&mut pending, "www", Hint::Exited);
    // Its answer may come still.
    assert!(told_once.try_recv().is_err());
    pending.broken();
    assert_eq!(told_once.try_recv(), Ok(Err(NoAnswer::Superseded)));
    assert_eq!(numbers(&mut pending), [2, 4]);
}

#[tokio::test(start_paused = true)]
async fn what_is_over_or_waited_for_by_nobody_is_not_told() {
    let mut pending = Pending::default();
    drop(take(&mut pending, "www", Hint::Exited));
    let mut late = take(&mut pending, "db", Hint::Withdrawn);
    tokio::time::advance(Duration::from_secs(6)).await;
    assert!(numbers(&mut pending).is_empty());
    assert_eq!(late.try_recv(), Ok(Err(NoAnswer::Late)));
    assert!(pending.hints.is_empty() && pending.untold.is_empty());
}

#[tokio::test]
async fn only_so_many_wait() {
    let mut pending = Pending::default();
    let waiting: Vec<_> = (0..PENDING_LIMIT)
        .map(|number| take(&mut pending, &number.to_string(), Hint::Withdrawn))
        .collect();
    let mut more = take(&mut pending, "more", Hint::Withdrawn);
    assert_eq!(more.try_recv(), Ok(Err(NoAnswer::TooMany)));
    drop(waiting);
    let mut later = take(&mut pending, "later", Hint::Withdrawn);
    assert!(later.try_recv().is_err());
    assert_eq!(pending.hints.len(), 1);
}

#[tokio::test]
async fn answers_that_make_no_sense_are_refusals_and_strangers_are_nobodys() {
    let mut pending = Pending::default();
    let mut first = take(&mut pending, "www", Hint::Withdrawn);
    assert!(pending.answer(answer(1, 77)).is_some());
    assert!(matches!(first.try_recv(), Ok(Err(NoAnswer::Refused(_)))));
    assert_eq!(pending.answer(answer(9, Wire::Drained.into())), None);
}
