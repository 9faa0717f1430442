//! A Consul that went on with another history: what it does not list proves nothing for a while.

use super::*;

fn empty() -> Desired {
    desired(|_| false, None)
}

impl Day {
    /// A confirming read and a pass, so often, ten seconds apart.
    fn confirmed(&mut self, times: u64, desired: impl Fn() -> Desired) {
        for _ in 0..times {
            self.later(10_000);
            self.confirmations += 1;
            self.pass(desired());
        }
    }
}

#[test]
fn lost_data_empty_nothing_until_their_time_is_over() {
    let mut day = Day::new();
    day.restarts = 1;
    day.pass(empty());
    day.confirmed(89, empty);
    assert_eq!(day.serving(), 10, "after 890 s");
    let hold = day.losses.hold.as_ref().unwrap();
    assert!(hold.is_confirmed());
    let reason = hold.reason(day.now);
    assert!(
        reason.contains("lost its data") && reason.contains(" 10 s"),
        "{reason}"
    );
    day.confirmed(1, empty);
    assert_eq!(day.serving(), 0);
}

#[test]
fn a_loss_that_is_held_already_is_held_on_when_it_turns_out_that_data_are_lost() {
    let mut day = Day::new();
    day.pass(empty());
    day.confirmed(1, empty);
    day.restarts = 1;
    day.confirmed(5, empty);
    assert_eq!(day.serving(), 10);
}

#[test]
fn what_is_registered_again_first_does_not_end_the_hold_of_the_rest() {
    let mut day = Day::new();
    day.restarts = 1;
    day.pass(empty());
    // Eight of ten are back: what is missing would be no great loss by itself.
    day.confirmed(20, || desired(|service| service < 8, None));
    assert_eq!(day.serving(), 10);
    day.pass(desired(|_| true, None));
    assert_eq!(day.losses.hold, None);
}

#[test]
fn one_that_leaves_later_leaves_and_after_a_while_all_is_as_ever() {
    let mut day = Day::new();
    day.restarts = 1;
    day.pass(desired(|_| true, None));
    day.later(1_000);
    day.pass(desired(|service| service > 0, None));
    assert_eq!(day.serving(), 9);
    day.later(15 * 60_000);
    day.pass(empty());
    day.confirmed(2, empty);
    assert_eq!(day.serving(), 0, "two reads are enough");
}

#[test]
fn what_nomad_ends_goes_whatever_consul_lost() {
    let mut day = Day::new();
    day.restarts = 1;
    let ended = || {
        let mut allocations: Vec<Allocation> = running().iter().cloned().collect();
        for allocation in &mut allocations {
            allocation.client = ClientStatus::Complete;
        }
        Some(Arc::new(Fleet::new(allocations)))
    };
    day.pass(desired(|_| false, ended()));
    assert_eq!(day.serving(), 0);
}
