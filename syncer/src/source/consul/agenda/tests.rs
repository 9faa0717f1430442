//! Whose turn it is.

use super::*;

fn name(number: usize) -> Arc<str> {
    format!("s{number:05}").into()
}

/// An agenda and its clock.
struct Day {
    agenda: Agenda,
    now: Instant,
}

impl Day {
    /// With so many services, all of them read.
    fn rested(services: usize) -> Self {
        let now = Instant::now();
        let mut day = Self {
            agenda: Agenda::new(now),
            now,
        };
        for number in 0..services {
            day.agenda.follow(&name(number), now);
        }
        let first = day.reads();
        assert_eq!(
            first.len(),
            services,
            "what is new is read at once, all of it"
        );
        day.pass(1);
        day
    }

    fn pass(&mut self, milliseconds: u64) {
        self.now += Duration::from_millis(milliseconds);
    }

    /// Reads all that is to be read now, one after the other; nothing changed.
    fn reads(&mut self) -> Vec<Arc<str>> {
        let mut names = Vec::new();
        while let Ok(turn) = self.agenda.next(self.now) {
            self.finish(&turn.name, false);
            names.push(turn.name);
        }
        names
    }

    fn finish(&mut self, name: &Arc<str>, changed: bool) {
        let outcome = Outcome::Read { index: 7, changed };
        self.agenda.finish(name, outcome, self.now);
    }
}

#[test]
fn what_is_named_is_read_once_and_alone() {
    let mut day = Day::rested(5);
    day.agenda.name(&name(3), day.now);
    day.agenda.name(&name(3), day.now);
    day.agenda.name("nobody's", day.now);
    let turn = day.agenda.next(day.now).unwrap();
    assert_eq!((&turn.name, turn.named_at), (&name(3), Some(day.now)));
    assert_eq!(turn.mark, Some(7));
    assert!(day.agenda.next(day.now).is_err());
}

#[test]
fn one_that_is_named_while_it_is_read_is_read_again() {
    let mut day = Day::rested(2);
    day.agenda.name(&name(1), day.now);
    let turn = day.agenda.next(day.now).unwrap();
    day.pass(1);
    day.agenda.name(&name(1), day.now);
    assert!(day.agenda.next(day.now).is_err(), "not twice at once");
    day.finish(&turn.name, true);
    let again = day.agenda.next(day.now).unwrap();
    assert_eq!((again.name, again.named_at), (name(1), Some(day.now)));
}

#[test]
fn a_doubt_reads_all_that_was_read_before_and_the_latest_to_change_first() {
    let mut day = Day::rested(100);
    day.agenda.name(&name(70), day.now);
    let turn = day.agenda.next(day.now).unwrap();
    day.finish(&turn.name, true);
    day.pass(1);
    day.agenda.doubt(day.now);
    day.pass(1);
    let turn = day.agenda.next(day.now).unwrap();
    assert_eq!(turn.name, name(70));
    day.finish(&turn.name, false);
    // One that was read since is no more in doubt.
    day.agenda.name(&name(5), day.now);
    let reads = day.reads();
    assert_eq!(reads.len(), 99);
    assert_eq!(reads[0], name(5), "what is named goes first");
    assert_eq!(reads.iter().filter(|read| **read == name(5)).count(), 1);
    assert!(day.reads().is_empty());
}

#[test]
fn doubts_that_do_not_end_are_held_to_the_budget_and_what_is_named_is_not() {
    let mut day = Day::rested(2_000);
    let mut reads = 0;
    for _ in 0..100 {
        day.agenda.doubt(day.now);
        day.pass(100);
        day.agenda.name(&name(1), day.now);
        let round = day.reads();
        assert_eq!(round[0], name(1));
        reads += round.len();
    }
    // 10 s: the burst, 500 a second, and what was named.
    assert!((7_000..=7_200).contains(&reads), "{reads}");
}

#[test]
fn in_quiet_times_each_is_read_once_a_round() {
    let mut day = Day::rested(50);
    let Err(Some(wake)) = day.agenda.next(day.now) else {
        panic!("nothing is to be read yet, and something later")
    };
    assert!(wake - day.now <= ROUND_INTERVAL && wake - day.now > ROUND_INTERVAL / 2);
    day.now = wake;
    assert_eq!(day.reads().len(), 50);
}

#[test]
fn one_that_fails_waits_longer_each_time_and_its_neighbours_do_not() {
    let mut day = Day::rested(3);
    let (mut tries, mut neighbours) = (0, 0);
    for _ in 0..1_000 {
        day.agenda.name(&name(0), day.now);
        day.agenda.name(&name(1), day.now);
        while let Ok(turn) = day.agenda.next(day.now) {
            if turn.name == name(0) {
                day.agenda.finish(&turn.name, Outcome::Failed, day.now);
                tries += 1;
            } else {
                day.finish(&turn.name, true);
                neighbours += 1;
            }
        }
        day.pass(10);
    }
    assert!((5..=14).contains(&tries), "{tries} in 10 s");
    assert_eq!(neighbours, 1_000);
}

#[test]
fn where_nothing_can_be_read_all_of_it_waits() {
    let mut day = Day::rested(10_000);
    day.agenda.doubt(day.now);
    let mut tries = 0;
    for _ in 0..6_000 {
        while let Ok(turn) = day.agenda.next(day.now) {
            day.agenda.finish(&turn.name, Outcome::Failed, day.now);
            tries += 1;
        }
        day.pass(10);
    }
    assert!(tries < 100, "{tries} in a minute");
    let reads = loop {
        day.pass(5_000);
        let reads = day.reads();
        if !reads.is_empty() {
            break reads;
        }
    };
    assert!(
        reads.len() > 1_000,
        "afterwards all of it is read again: {}",
        reads.len()
    );
}

#[test]
fn one_that_is_gone_is_forgotten() {
    let mut day = Day::rested(2);
    day.agenda.name(&name(0), day.now);
    let turn = day.agenda.next(day.now).unwrap();
    day.agenda.finish(&turn.name, Outcome::Gone, day.now);
    day.agenda.name(&name(0), day.now);
    assert!(day.agenda.next(day.now).is_err());
    day.agenda.follow(&name(0), day.now);
    assert_eq!(day.agenda.next(day.now).unwrap().mark, None, "as a new one");
}
