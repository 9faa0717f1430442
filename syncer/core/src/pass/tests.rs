//! What one pass leaves to the next: doubt, waits, and what to look at.

mod decisions;
mod done;
mod ends;
mod looks;
mod told;

use std::time::Duration;

use ipvs::{Command, KernelRefusal, ServiceId, Table, Weight, errno};

use super::*;
use crate::model::catalog::{Catalog, CatalogService, Health, Instance, Tags};
use crate::model::policy::{Ownership, VipPolicy};
use crate::plan::Step;

fn id() -> ServiceId {
    "198.18.0.29:80".parse().unwrap()
}

fn policy() -> Policy {
    let vip = VipPolicy::new(id());
    Policy {
        services: [("web".into(), vip.into())].into(),
        ownership: Ownership::of(vec!["198.18.0.0/24".parse().unwrap()]),
        drain: Duration::from_mins(1),
        shrink_percent: 50,
    }
}

/// One service with one instance.
fn view() -> View {
    let instance = Instance {
        address: "198.18.0.11:20000".parse().unwrap(),
        health: Health::Passing,
        checked: true,
        weight_passing: 1,
        weight_warning: 1,
        node: "node".into(),
        origin: None,
        tags: Arc::new(Tags::default()),
    };
    let service = CatalogService {
        instances: vec![instance],
        ..CatalogService::default()
    };
    let catalog = Catalog {
        services: [("web".into(), Arc::new(service))].into(),
        ..Catalog::default()
    };
    View {
        catalog: Some(Arc::new(catalog)),
        arrived: None,
        nomad: Nomad::Unconfigured,
        hinted: crate::desired::HintPhases::new(),
        hints: 0,
        hint_ends: None,
        refusals: Arc::default(),
        sources: Arc::default(),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "any moment will do to begin with"
)]
fn start() -> Now {
    Now {
        wall: Moment(1_000_000),
        steady: Instant::now(),
    }
}

fn after(now: Now, seconds: u64) -> Now {
    let time = Duration::from_secs(seconds);
    Now {
        wall: now.wall.after(time),
        steady: now.steady + time,
    }
}

/// A data plane that has that table, and nothing else.
fn reading(table: &Table) -> Reading {
    Reading {
        table: table.clone(),
        snat: Some([].into()),
        ..Reading::default()
    }
}

/// Begins a pass and makes its plan; the data plane is read where the director looks at it.
fn decide(director: &mut Director, reading: Reading, view: View, now: Now) -> (Look, Pass) {
    let (start, look) = director.begin(Reason::Consul, now);
    if look == Look::Read {
        assert!(director.read(Ok(reading), now.steady, now));
    }
    (look, director.decide(start, view, now))
}

/// One pass against a data plane with that table, which answers each step so; gives what it looked at, what it sent and
/// how it ended.
fn pass(
    director: &mut Director,
    table: &mut Table,
    now: Now,
    answer: impl Fn(&Step) -> Result<(), Failure>,
) -> (Look, Vec<Step>, Finish) {
    let (look, mut pass) = decide(director, reading(table), view(), now);
    let mut sent = Vec::new();
    while let Some(steps) = director.batch(&mut pass, now, || false) {
        let outcomes: Vec<_> = steps.iter().map(&answer).collect();
        for (step, outcome) in steps.iter().zip(&outcomes) {
            if let (Step::Ipvs(command), Ok(())) = (step, outcome) {
                table.apply(command).unwrap();
            }
        }
        sent.extend_from_slice(steps);
        director.outcomes(&mut pass, outcomes, now);
    }
    let finish = director.finish(pass, now);
    (look, sent, finish)
}

/// Refuses real servers that are added, with that errno.
fn refusing(errno: i32) -> impl Fn(&Step) -> Result<(), Failure> {
    move |step| match step {
        Step::Ipvs(command @ Command::AddReal(..)) => Err(Failure::Refused {
            refused: KernelRefusal {
                command: *command,
                errno,
            },
            reason: "refused".to_owned(),
        }),
        _ => Ok(()),
    }
}

fn adds_a_real(steps: &[Step]) -> bool {
    let is_one = |step: &Step| matches!(step, Step::Ipvs(Command::AddReal(..)));
    steps.iter().any(is_one)
}

fn is_whole(finish: &Finish) -> bool {
    finish.state.pass.unwrap().whole
}

/// The instance has to take a connection before it serves; then it is added.
fn warmed() -> (Director, Now) {
    let now = start();
    let mut director = Director::new(policy(), Duration::from_secs(30), Memory::default(), now);
    director.warm([(id(), "198.18.0.11:20000".parse().unwrap())]);
    (director, now)
}

#[test]
fn a_refusal_that_contradicts_the_mirror_has_the_data_plane_read_before_the_next_plan() {
    let (mut director, now) = warmed();
    let mut table = Table::default();
    let (look, sent, finish) = pass(&mut director, &mut table, now, refusing(errno::EEXIST));
    assert!(look == Look::Read && adds_a_real(&sent), "{sent:?}");
    assert!(!is_whole(&finish) && finish.wake.unwrap() < after(now, 1).steady);
    let (look, sent, finish) = pass(&mut director, &mut table, after(now, 1), |_| Ok(()));
    assert!(look == Look::Read && adds_a_real(&sent) && is_whole(&finish));
    let (look, sent, _) = pass(&mut director, &mut table, after(now, 2), |_| Ok(()));
    assert!(look == Look::Nothing && sent.is_empty(), "{sent:?}");
}

#[test]
fn a_real_server_that_is_there_already_is_looked_for_at_once_and_edited() {
    let (mut director, now) = warmed();
    let mut table = Table::default();
    let (_, sent, finish) = pass(&mut director, &mut table, now, refusing(errno::EEXIST));
    assert_eq!(finish.wake, Some(now.steady), "a reading is all it needs");
    let mut real = match sent.last() {
        Some(Step::Ipvs(Command::AddReal(_, real))) => *real,
        other => panic!("{other:?}"),
    };
    let weight = real.weight;
    real.weight = Weight::saturating(7);
    table.apply(&Command::AddReal(id(), real)).unwrap();
    let (start, look) = director.begin(Reason::Timer, now);
    assert_eq!(look, Look::Read);
    let expected = director.table().get(&id()).unwrap();
    assert!(expected.real(real.address).is_some(), "a dump may lose it");
    director.give_up(start, now);
    let (_, sent, finish) = pass(&mut director, &mut table, now, |_| Ok(()));
    real.weight = weight;
    let edit = Step::Ipvs(Command::EditReal(id(), real));
    assert!(sent.contains(&edit) && is_whole(&finish), "{sent:?}");
}

#[test]
fn a_contradiction_that_comes_again_after_a_reading_waits_longer_each_time() {
    let (mut director, now) = warmed();
    let (mut table, mut wait) = (Table::default(), Duration::ZERO);
    pass(&mut director, &mut table, now, refusing(errno::EEXIST));
    for _ in 0..3 {
        let (look, sent, finish) = pass(&mut director, &mut table, now, refusing(errno::EEXIST));
        assert!(look == Look::Read && adds_a_real(&sent), "{sent:?}");
        let next = finish.wake.unwrap() - now.steady;
        assert!(next > wait, "{next:?}");
        wait = next;
    }
}

#[test]
fn a_plain_refusal_leaves_no_doubt_and_is_not_tried_before_its_time() {
    let (mut director, now) = warmed();
    let mut table = Table::default();
    let (_, sent, finish) = pass(&mut director, &mut table, now, refusing(errno::EINVAL));
    assert!(adds_a_real(&sent) && is_whole(&finish));
    assert_eq!(finish.wake, Some(after(now, 1).steady));
    assert_eq!(finish.state.pass.unwrap().refused, 1);
    let (look, sent, finish) = pass(&mut director, &mut table, now, |_| Ok(()));
    assert!(look == Look::Nothing && sent.is_empty(), "{sent:?}");
    let record = finish.state.pass.unwrap();
    assert_eq!((record.refused, record.failed), (1, 1), "it is still known");
    let (_, sent, finish) = pass(&mut director, &mut table, after(now, 1), |_| Ok(()));
    assert!(adds_a_real(&sent) && is_whole(&finish));
    assert_eq!(finish.wake, None);
}

#[test]
fn a_pass_that_cannot_read_plans_nothing_and_waits_longer_each_time() {
    let (mut director, now) = warmed();
    let mut wait = Duration::ZERO;
    for number in 1..=3 {
        let (start, look) = director.begin(Reason::Consul, now);
        assert_eq!(look, Look::Read);
        assert!(!director.read(Err("no answer".to_owned()), now.steady, now));
        let finish = director.give_up(start, now);
        assert!(finish.memory.is_none() && finish.trials.is_none() && !is_whole(&finish));
        let next = finish.wake.unwrap() - now.steady;
        assert!(next > wait, "{next:?}");
        wait = next;
        assert_eq!(finish.state.pass.unwrap().number, number);
        assert_eq!(
            finish.state.errors.len(),
            1,
            "the same error again is no other"
        );
    }
}
