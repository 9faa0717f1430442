//! What a look at the data plane finds that is not as it was left, and what is told of it.

use ipvs::Unreadable;

use super::decisions::{empty, serving};
use super::*;
use crate::model::fleet::Phase;

const TABLE: &str = "the table is not as it was left";

/// An audit that finds that, and all addresses as they were left; what a person should read of it.
fn audit(director: &mut Director, mut found: Reading, now: Now) -> (PassStart, Vec<Notice>) {
    let (start, look) = director.begin(Reason::Audit, now);
    assert_eq!(look, Look::Read);
    found.addresses = director.mirror.addresses.clone();
    assert!(director.read(Ok(found), now.steady, now));
    (start, director.notices().collect())
}

#[test]
fn what_another_hand_did_is_told_by_each_audit_and_stands_in_the_state_until_it_is_put_right() {
    let (mut director, mut table, now) = serving();
    assert_eq!(director.notices().count(), 0, "a start finds what it finds");
    let drained = Table::default();
    let drift = [Notice::Drift(TABLE.to_owned())];
    for found in [&drained, &drained] {
        let (start, notices) = audit(&mut director, reading(found), now);
        assert_eq!(notices, drift);
        let mut audited = director.decide(start, view(), now);
        let steps = director.batch(&mut audited, now, || false).unwrap().len();
        let fails = || {
            Err(Failure::Other {
                reason: "no answer".to_owned(),
            })
        };
        director.outcomes(&mut audited, (0..steps).map(|_| fails()), now);
        let state = director.finish(audited, now).state;
        assert_eq!(state.drift[..], [TABLE.to_owned()], "once");
        // As if it had been put right meanwhile.
        director.mirror.table = table.clone();
        director.trust = Trust::Current;
    }
    let (_, _, finish) = pass(&mut director, &mut table, now, |_| Ok(()));
    assert!(is_whole(&finish) && finish.state.drift.is_empty());
}

#[test]
fn rules_are_lost_where_they_were_and_are_not_any_more_until_a_pass_is_whole() {
    let now = start();
    let mut director = Director::new(policy(), Duration::from_secs(30), Memory::default(), now);
    let found = |snat| Reading {
        snat,
        ..Reading::default()
    };
    let lost = |director: &mut Director, snat| {
        audit(director, found(snat), now);
        director.snat_lost
    };
    assert!(!lost(&mut director, Some([].into())), "a start");
    assert!(!lost(&mut director, Some([].into())));
    assert!(lost(&mut director, None));
    assert!(lost(&mut director, Some([].into())), "not set again yet");
    let (_, _, finish) = pass(&mut director, &mut Table::default(), now, |_| Ok(()));
    assert!(is_whole(&finish) && !director.snat_lost);
    assert!(!lost(&mut director, Some([].into())));
}

#[test]
fn an_entry_that_cannot_be_read_is_told_once_and_stands_in_the_state_as_long_as_it_is_there() {
    let (mut director, table, now) = serving();
    let entry = Unreadable {
        of: Some(id()),
        why: ipvs::wire::Malformed::Scheduler,
    };
    let text = entry.to_string();
    let found = |unreadable: &[Unreadable]| Reading {
        unreadable: unreadable.to_vec(),
        ..reading(&table)
    };
    for (unreadable, told) in [(&[entry.clone()][..], 1), (&[entry][..], 0), (&[], 0)] {
        let (start, notices) = audit(&mut director, found(unreadable), now);
        let expected = vec![Notice::Unreadable(text.clone()); told];
        assert_eq!(notices, expected);
        let audited = director.decide(start, view(), now);
        let state = director.finish(audited, now).state;
        assert_eq!(state.unreadable[..], vec![text.clone(); unreadable.len()]);
    }
}

#[test]
fn a_state_is_of_a_kernel_that_was_read_once_it_was() {
    let (mut director, now) = warmed();
    let (start, _) = director.begin(Reason::Startup, now);
    assert!(!director.read(Err("no answer".to_owned()), now.steady, now));
    assert!(!director.give_up(start, now).state.read);
    let (_, _, finish) = pass(&mut director, &mut Table::default(), now, |_| Ok(()));
    assert!(finish.state.read);
    let (start, _) = director.begin(Reason::Audit, now);
    assert!(!director.read(Err("no answer".to_owned()), now.steady, now));
    assert!(director.give_up(start, now).state.read);
}

#[test]
fn one_that_drains_goes_once_it_is_counted_as_idle() {
    let (mut director, mut table, now) = serving();
    let real = "198.18.0.11:20000".parse().unwrap();
    let stopping = || View {
        hinted: [(real, Phase::Stopping)].into(),
        ..view()
    };
    let (_, mut quiesces) = decide(&mut director, reading(&table), stopping(), now);
    let steps = director.batch(&mut quiesces, now, || false).unwrap();
    let [Step::Ipvs(command)] = steps else {
        panic!("{steps:?}");
    };
    table.apply(command).unwrap();
    director.outcomes(&mut quiesces, [Ok(())], now);
    director.finish(quiesces, now);
    let counted = |director: &mut Director, counts| {
        let (start, look) = director.begin(Reason::Timer, now);
        assert_eq!(look, Look::Count(vec![id()]));
        director.count(counts, now);
        director.decide(start, stopping(), now)
    };
    let idle = [((id(), real), ipvs::Connections::default())];
    let unknown = counted(&mut director, Err("no answer".to_owned()));
    assert!(unknown.plan().steps.is_empty());
    let state = director.finish(unknown, now).state;
    assert_eq!(state.errors[0].1, "counting connections: no answer");
    let known = counted(&mut director, Ok(idle.into()));
    let expected = [Step::Ipvs(Command::RemoveReal(id(), real))];
    assert_eq!(known.plan().steps, expected);
}

#[test]
fn a_refusal_of_what_is_not_wanted_any_more_is_forgotten() {
    let (mut director, now) = warmed();
    let mut table = Table::default();
    pass(&mut director, &mut table, now, refusing(errno::EINVAL));
    let (_, gone) = decide(&mut director, reading(&table), empty(), now);
    assert!(gone.plan().steps.is_empty());
    director.finish(gone, now);
    let (_, sent, _) = pass(&mut director, &mut table, now, |_| Ok(()));
    assert!(adds_a_real(&sent), "at once: {sent:?}");
}

#[test]
fn each_notice_is_a_sentence_about_what_it_has() {
    let step = Step::RemoveVip("198.18.0.29".parse().unwrap());
    let (lost, serving) = (3, 4);
    let texts = [
        (Notice::Drift(TABLE.to_owned()), TABLE),
        (Notice::Unreadable("an entry".to_owned()), "an entry"),
        (Notice::Held { lost, serving }, "3 real servers of 4"),
        (Notice::Released, "nothing is held back"),
        (Notice::Withheld(step), "remove address 198.18.0.29"),
    ];
    for (notice, phrase) in texts {
        let text = notice.to_string();
        assert!(text.contains(phrase), "{text}");
    }
}
