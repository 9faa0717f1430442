//! Drains: how long they last, when they are looked at again, and that they outlive the process.

use super::world::{address, id, service_with};
use super::*;

fn drain(since: u64, deadline: u64) -> Drain {
    Drain {
        since: Moment(since),
        deadline: Moment(deadline),
    }
}

fn drains(all: &[(u16, Drain)]) -> Drains {
    Drains(
        all.iter()
            .map(|(port, drain)| ((id(80), address(*port)), *drain))
            .collect(),
    )
}

#[test]
fn drains_are_a_list_on_disk_and_come_back_as_they_were() {
    let all = drains(&[(1, drain(1, 2)), (2, drain(3, 4))]);
    let text = serde_json::to_string(&all).unwrap();
    assert!(text.starts_with('['), "{text}");
    assert_eq!(serde_json::from_str::<Drains>(&text).unwrap(), all);
}

#[test]
fn the_next_look_is_at_the_nearest_deadline_or_after_the_poll_whichever_is_first() {
    let gone = desired(vec![(id(80), service_with(&[]))]);
    let mut seen = Seen::of(table(&[(1, 0), (2, 0), (3, 0)]));
    let wake = |seen: &Seen| seen.plan(&gone, 1_000).wake_at;
    assert_eq!(wake(&seen), Some(Moment(1_200)));
    seen.drains = drains(&[(2, drain(0, 1_050)), (3, drain(0, 1_100))]);
    assert_eq!(wake(&seen), Some(Moment(1_050)));
}

#[test]
fn a_drain_that_goes_on_keeps_its_beginning_and_its_deadline() {
    let gone = desired(vec![(id(80), service_with(&[]))]);
    let mut seen = Seen::of(table(&[(1, 0)]));
    seen.drains = drains(&[(1, drain(10, 5_000))]);
    assert_eq!(seen.plan(&gone, 1_000).drains, seen.drains);
}

#[test]
fn real_servers_of_a_service_without_a_policy_have_a_minute() {
    let seen = Seen::of(table(&[(1, 0)]));
    let plan = seen.plan(&desired(Vec::new()), 1_000);
    assert_eq!(plan.drains, drains(&[(1, drain(1_000, 61_000))]));
}

#[test]
fn the_drain_of_one_that_is_kept_goes_on() {
    let mut seen = Seen::of(table(&[(1, 0)]));
    seen.drains = drains(&[(1, drain(10, 5_000))]);
    let kept = desired(vec![(id(80), service_with(&[(1, Want::Keep)]))]);
    assert_eq!(seen.plan(&kept, 1_000).drains, seen.drains);
    let unread = seen.plan(&Desired::default(), 1_000);
    assert_eq!(unread.drains, seen.drains);
}

#[test]
fn one_that_is_quiesced_for_its_health_does_not_drain() {
    let mut seen = Seen::of(table(&[(1, 0)]));
    seen.drains = drains(&[(1, drain(10, 5_000))]);
    let quiet = desired(vec![(id(80), service_with(&[(1, Want::Quiesce)]))]);
    let plan = seen.plan(&quiet, 1_000);
    assert_eq!((plan.steps, plan.drains), (Vec::new(), Drains::default()));
}
