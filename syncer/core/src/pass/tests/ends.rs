//! How a pass ends: what is remembered, what the next one looks at, and when it is due.

use super::decisions::{empty, serving};
use super::*;
use crate::model::fleet::Phase;
use crate::plan::COUNT_INTERVAL;

/// A pass over that view against a data plane that does all, so far as the pass gets until it is `cut`.
fn seen(
    director: &mut Director,
    table: &mut Table,
    view: View,
    now: Now,
    answer: impl Fn(&Step) -> Result<(), Failure>,
) -> Finish {
    let (_, mut pass) = decide(director, reading(table), view, now);
    while let Some(steps) = director.batch(&mut pass, now, || false) {
        for step in steps {
            if let (Step::Ipvs(command), Ok(())) = (step, answer(step)) {
                table.apply(command).unwrap();
            }
        }
        let outcomes: Vec<_> = steps.iter().map(&answer).collect();
        director.outcomes(&mut pass, outcomes, now);
    }
    director.finish(pass, now)
}

#[test]
fn the_next_pass_looks_at_what_is_open_and_at_all_where_a_step_failed_or_was_not_done() {
    let nothing = Scope::Only([].into());
    let (mut director, mut table, now) = serving();
    pass(&mut director, &mut table, now, |_| Ok(()));
    assert_eq!(director.scope, nothing);

    // Its only step is refused, and refused again.
    let (mut director, now) = warmed();
    let mut table = Table::default();
    pass(&mut director, &mut table, now, refusing(errno::EINVAL));
    for seconds in [1, 10] {
        let (now, refuse) = (after(now, seconds), refusing(errno::EINVAL));
        let (_, sent, _) = pass(&mut director, &mut table, now, refuse);
        assert_eq!(sent.len(), 1);
        assert_eq!(director.scope, Scope::Whole);
    }

    let later = after(now, 100);
    let (_, mut cut) = decide(&mut director, reading(&table), view(), later);
    assert!(cut.plan().next != Scope::Whole && adds_a_real(&cut.plan().steps));
    let late = after(later, 60);
    assert!(director.batch(&mut cut, late, || true).is_none());
    let finish = director.finish(cut, late);
    assert_eq!(director.scope, Scope::Whole);
    assert_eq!(finish.wake, Some(late.steady), "at once");
}

#[test]
fn what_was_applied_is_remembered_for_the_disk() {
    let (mut director, now) = warmed();
    let mut table = Table::default();
    let (_, _, finish) = pass(&mut director, &mut table, now, |_| Ok(()));
    let memory = finish.memory.unwrap();
    let saved = memory.services.get(&id()).unwrap();
    assert_eq!(*saved.reals, table.get(&id()).unwrap().reals());
    assert_eq!(memory.addresses, ["198.18.0.29".parse().unwrap()].into());
    assert!(memory.drains.0.is_empty() && !memory.addresses_lost);
}

#[test]
fn connections_of_one_that_drains_are_counted_again_and_again() {
    let (mut director, mut table, now) = serving();
    let real = "198.18.0.11:20000".parse().unwrap();
    let stopping = View {
        hinted: [(real, Phase::Stopping)].into(),
        ..view()
    };
    let finish = seen(&mut director, &mut table, stopping, now, |_| Ok(()));
    assert_eq!(finish.wake, Some(now.steady + COUNT_INTERVAL));
    let drains = finish.memory.unwrap().drains.0;
    assert!(drains.contains_key(&(id(), real)), "{drains:?}");
    let (_, look) = director.begin(Reason::Timer, now);
    assert_eq!(look, Look::Count(vec![id()]));
}

#[test]
fn what_failed_without_a_doubt_about_the_table_is_tried_again_soon() {
    let (mut director, now) = warmed();
    let fails = |step: &Step| match step {
        Step::AddVip(_) => Err(Failure::Other {
            reason: "no answer".to_owned(),
        }),
        _ => Ok(()),
    };
    let mut table = Table::default();
    let (_, _, finish) = pass(&mut director, &mut table, now, fails);
    assert!(!is_whole(&finish));
    let first = Duration::from_millis(50);
    assert_eq!(finish.wake, Some(now.steady + first));
    let (look, _, finish) = pass(&mut director, &mut table, after(now, 1), |_| Ok(()));
    assert!(look == Look::Nothing && is_whole(&finish) && finish.wake.is_none());
}

#[test]
fn a_held_loss_is_looked_at_again_when_the_catalogue_is_asked_again() {
    let (mut director, mut table, now) = serving();
    let now = after(now, 1);
    let finish = seen(&mut director, &mut table, empty(), now, |_| Ok(()));
    assert_eq!(finish.wake, Some(after(now, 6).steady));
}

#[test]
fn while_nomad_is_awaited_the_end_of_patience_is_a_reason_to_look_and_afterwards_it_is_none() {
    let awaiting = || View {
        nomad: Nomad::Awaited,
        ..view()
    };
    for (seconds, wake) in [(0, Some(10)), (9, Some(10)), (10, None), (11, None)] {
        let (mut director, now) = warmed();
        let (mut table, at) = (Table::default(), after(now, seconds));
        let finish = seen(&mut director, &mut table, awaiting(), at, |_| Ok(()));
        let expected = wake.map(|seconds| after(now, seconds).steady);
        assert_eq!(finish.wake, expected, "after {seconds} s");
    }
}

#[test]
fn the_state_has_what_the_pass_has_looked_at_and_stays_complete_once_it_was() {
    let (mut director, now) = warmed();
    let mut table = Table::default();
    let catalog = |unlisted| Catalog {
        unread: ["other".into()].into(),
        unlisted,
        ..Catalog::clone(&view().catalog.unwrap())
    };
    let half_read = |unlisted| View {
        catalog: Some(Arc::new(catalog(unlisted))),
        hints: 7,
        ..view()
    };
    let refuses = |_: &Step| {
        Err(Failure::Other {
            reason: "no answer".to_owned(),
        })
    };
    let finish = seen(&mut director, &mut table, half_read(true), now, refuses);
    assert!(!finish.state.complete);
    let unread = Unread {
        services: 1,
        list: true,
    };
    assert_eq!((finish.state.unread, finish.state.hints), (unread, 7));
    let finish = seen(&mut director, &mut table, half_read(false), now, |_| Ok(()));
    assert!(finish.state.complete && !finish.state.unread.list);
    let in_kernel: Vec<ServiceId> = finish.state.in_kernel().collect();
    assert_eq!(in_kernel, [id()]);
    let (start, _) = director.begin(Reason::Audit, now);
    assert!(!director.read(Err("no answer".to_owned()), now.steady, now));
    let finish = director.give_up(start, now);
    assert!(finish.state.complete);
    assert_eq!(finish.state.pass.unwrap().failed, 1);
}
