//! What becomes of each step, and that a pass that compares itself finds what is wrong.

use super::decisions::serving;
use super::*;
use crate::desired::Holder;

#[test]
fn a_pass_that_has_done_all_is_whole_however_long_it_took_and_whatever_is_known_by_then() {
    let (mut director, now) = warmed();
    let (_, mut pass) = decide(&mut director, reading(&Table::default()), view(), now);
    while let Some(steps) = director.batch(&mut pass, now, || false) {
        let outcomes: Vec<_> = steps.iter().map(|_| Ok(())).collect();
        director.outcomes(&mut pass, outcomes, now);
    }
    let late = after(now, 60);
    assert!(director.batch(&mut pass, late, || true).is_none());
    let finish = director.finish(pass, late);
    assert!(is_whole(&finish) && finish.wake.is_none());
}

#[test]
fn after_a_command_of_which_nobody_knows_what_came_of_it_the_data_plane_is_read() {
    let (mut director, now) = warmed();
    let fails = |step: &Step| match step {
        Step::Ipvs(Command::AddReal(..)) => Err(Failure::Other {
            reason: "no answer".to_owned(),
        }),
        _ => Ok(()),
    };
    let mut table = Table::default();
    pass(&mut director, &mut table, now, fails);
    let (look, sent, _) = pass(&mut director, &mut table, now, |_| Ok(()));
    assert!(look == Look::Read && adds_a_real(&sent), "{sent:?}");
}

#[test]
fn rules_of_which_nobody_knows_what_came_of_them_are_set_again() {
    let with_snat = || {
        let mut policy = policy();
        policy.services.get_mut("web").unwrap().vips[0].snat = true;
        policy
    };
    let is_set = |sent: &[Step]| sent.iter().any(|step| matches!(step, Step::SetSnat(_)));
    let now = start();
    let mut director = Director::new(with_snat(), Duration::from_secs(30), Memory::default(), now);
    let fails = |step: &Step| match step {
        Step::SetSnat(_) => Err(Failure::Other {
            reason: "no answer".to_owned(),
        }),
        _ => Ok(()),
    };
    let mut table = Table::default();
    let (_, sent, _) = pass(&mut director, &mut table, now, fails);
    assert!(is_set(&sent) && !adds_a_real(&sent), "{sent:?}");
    let withheld = director.notices();
    let is_withheld = |notice: &Notice| matches!(notice, Notice::Withheld(_));
    assert!(withheld.filter(is_withheld).count() > 0);
    let (look, sent, _) = pass(&mut director, &mut table, after(now, 1), |_| Ok(()));
    assert!(look == Look::Nothing && is_set(&sent) && adds_a_real(&sent));
}

#[test]
fn a_vip_that_turns_out_to_be_somebody_elses_is_refused_by_the_next_look() {
    let (mut director, now) = warmed();
    let taken = |step: &Step| match step {
        Step::AddVip(_) => Err(Failure::Taken {
            holder: Holder::Neighbour {
                link: "02:00:00:00:00:01".into(),
            },
            reason: "taken".to_owned(),
        }),
        _ => Ok(()),
    };
    let mut table = Table::default();
    pass(&mut director, &mut table, now, taken);
    let (look, _, finish) = pass(&mut director, &mut table, after(now, 1), |_| Ok(()));
    assert_eq!(look, Look::Nothing);
    let rejected = &finish.state.rejected;
    assert_eq!(rejected.len(), 1);
    let reason = &rejected[0].1.reason;
    assert!(reason.contains("02:00:00:00:00:01"), "{reason}");
}

/// A director that compares, what it sees, and its table, before a pass at rest.
fn comparing() -> (Director, View, Table, Now) {
    let (director, table, now) = serving();
    let mut director = director.comparing_parts_with_the_whole();
    let same = view();
    for _ in 0..2 {
        let (_, pass) = decide(&mut director, reading(&table), same.clone(), now);
        assert!(pass.plan().steps.is_empty());
        director.finish(pass, now);
    }
    (director, same, table, now)
}

#[test]
#[should_panic(expected = "Whole")]
fn a_part_that_lacks_something_of_what_should_be_is_found_out() {
    let (mut director, same, table, now) = comparing();
    director.desired.services.clear();
    director.scope = Scope::Whole;
    decide(&mut director, reading(&table), same, now);
}

#[test]
#[should_panic(expected = "Only({})")]
fn a_plan_that_lacks_something_of_the_whole_is_found_out() {
    let (mut director, same, table, now) = comparing();
    director.mirror.table = Table::default();
    decide(&mut director, reading(&table), same, now);
}
