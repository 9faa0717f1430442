//! Weights that rise in steps, thresholds, and a sorry server that serves while nobody else does.

use std::time::Duration;

use ipvs::{RealServer, Thresholds};

use super::world::{id, service_with, weight};
use super::*;

fn slow(wants: &[(u16, Want)]) -> Desired {
    let mut wanted = service_with(wants);
    wanted.safeguards.slow_start = Some(Duration::from_secs(10));
    desired(vec![(id(80), wanted)])
}

fn ten() -> Want {
    Want::Serve(weight(10))
}

/// Plans at each of these seconds and does what is planned; gives the weight of that port after each.
fn weights(machine: &mut Machine, desired: &Desired, port: u16, seconds: &[u64]) -> Vec<u32> {
    let mut weights = Vec::new();
    for second in seconds {
        let plan = machine.plan(desired, 1_000 * second);
        for step in &plan.steps {
            if let Step::Ipvs(command) = step {
                machine.table.apply(command).unwrap();
            }
        }
        machine.ramps = plan.ramps;
        let real = machine
            .table
            .get(&id(80))
            .and_then(|service| service.real(address(port)));
        weights.push(real.map_or(0, |real| real.weight.get()));
    }
    weights
}

#[test]
fn a_newcomer_rises_by_a_tenth_of_its_weight_beside_others_that_serve() {
    let mut machine = Machine::of(table(&[(1, 10)]));
    let both = slow(&[(1, ten()), (2, ten())]);
    let first = machine.plan(&both, 1_000);
    assert_eq!(
        texts(&first),
        ["add tcp://198.18.0.29:80 -> 198.18.0.11:2 weight 1"]
    );
    assert_eq!(first.wake_at, Some(Moment(2_000)));
    let rising = weights(&mut machine, &both, 2, &[1, 2, 3, 9, 10, 20]);
    assert_eq!(rising, [1, 2, 3, 9, 10, 10]);
    assert!(machine.ramps.is_empty());
}

#[test]
fn one_that_is_back_rises_from_nought_and_one_on_its_way_goes_on_after_a_restart() {
    let mut machine = Machine::of(table(&[(1, 10), (2, 0)]));
    let both = slow(&[(1, ten()), (2, ten())]);
    assert_eq!(weights(&mut machine, &both, 2, &[1, 2, 3, 4]), [1, 2, 3, 4]);
    // Of a raise under way nothing is kept on the disk.
    machine.ramps.clear();
    assert_eq!(weights(&mut machine, &both, 2, &[5, 6]), [5, 6]);
}

#[test]
fn where_nobody_else_serves_a_newcomer_has_its_full_weight_at_once() {
    for there in [&[][..], &[(2, 0)]] {
        let mut machine = Machine::of(table(there));
        let alone = slow(&[(1, ten()), (2, Want::Quiesce)]);
        assert_eq!(weights(&mut machine, &alone, 1, &[1]), [10]);
    }
}

#[test]
fn a_weight_is_lowered_at_once_and_what_waits_for_a_trial_does_not_rise() {
    let mut machine = Machine::of(table(&[(1, 10), (2, 10), (3, 0)]));
    let lower = slow(&[
        (1, ten()),
        (2, Want::Serve(weight(4))),
        (3, Want::Warm(weight(10))),
    ]);
    assert_eq!(weights(&mut machine, &lower, 2, &[1]), [4]);
    assert_eq!(weights(&mut machine, &lower, 3, &[2, 3]), [0, 0]);
    assert!(machine.ramps.is_empty());
}

#[test]
fn a_plan_of_a_rising_service_alone_is_the_plan_of_everything() {
    let mut machine = Machine::of(table(&[(1, 10)]));
    let both = slow(&[(1, ten()), (2, ten())]);
    weights(&mut machine, &both, 2, &[1]);
    let whole = machine.plan(&both, 1_500);
    assert!(whole.steps.is_empty());
    assert_eq!(whole.next, Scope::Only([id(80)].into()));
}

#[test]
fn thresholds_are_set_on_newcomers_and_put_back_on_others() {
    let thresholds = Thresholds {
        upper: 100,
        lower: 80,
    };
    let mut wanted = service_with(&[(1, Want::Serve(weight(1))), (2, Want::Serve(weight(1)))]);
    wanted.safeguards.thresholds = thresholds;
    let plan = Machine::of(table(&[(1, 1)])).plan(&desired(vec![(id(80), wanted)]), 0);
    let of = |port| RealServer {
        thresholds,
        ..world::real(port, 1)
    };
    assert_eq!(
        plan.steps,
        [
            Step::Ipvs(Command::EditReal(id(80), of(1))),
            Step::Ipvs(Command::AddReal(id(80), of(2))),
        ]
    );
}

const SORRY: (u16, Want) = (9, Want::Substitute);

fn sorry(there: &[(u16, u32)], wants: &[(u16, Want)]) -> Vec<String> {
    let wants: Vec<(u16, Want)> = wants.iter().copied().chain([SORRY]).collect();
    let plan = Machine::of(table(there)).plan(&desired(vec![(id(80), service_with(&wants))]), 0);
    let short = |text: String| text.replace("tcp://198.18.0.29:80 -> 198.18.0.11:", "");
    texts(&plan).into_iter().map(short).collect()
}

#[test]
fn a_sorry_server_comes_before_the_last_one_goes_and_goes_after_the_first_has_come() {
    let one = Want::Serve(weight(1));
    assert_eq!(sorry(&[], &[]), ["add 9 weight 1"]);
    assert_eq!(
        sorry(&[(1, 1)], &[(1, Want::Quiesce)]),
        ["add 9 weight 1", "edit 1 weight 0"]
    );
    assert_eq!(sorry(&[(1, 0), (9, 1)], &[(1, Want::Quiesce)]), [""; 0]);
    assert_eq!(
        sorry(&[(1, 0), (9, 1)], &[(1, one)]),
        ["edit 1 weight 1", "edit 9 weight 0"]
    );
    assert_eq!(sorry(&[(1, 1)], &[(1, one)]), [""; 0]);
    assert_eq!(
        sorry(&[(1, 1), (9, 0)], &[(1, Want::Drain)])[0],
        "edit 9 weight 1"
    );
}

#[test]
fn a_sorry_server_waits_while_somebody_serves_who_has_to_prove_himself_or_of_whom_nobody_knows() {
    let waiting = Want::Warm(weight(1));
    assert_eq!(sorry(&[(1, 1)], &[(1, waiting)]), [""; 0]);
    assert_eq!(sorry(&[], &[(1, waiting)]), ["add 9 weight 1"]);
    assert_eq!(sorry(&[(1, 1)], &[(1, Want::Keep)]), [""; 0]);
    assert_eq!(sorry(&[(1, 0)], &[(1, Want::Keep)]), ["add 9 weight 1"]);
}

#[test]
fn a_sorry_server_does_not_come_for_one_that_serves_until_its_successor_does() {
    let fleet = crate::model::fleet::Fleet::new([
        bridge::allocation(1, false),
        bridge::allocation(2, true),
    ]);
    let wants = [(1, Want::Drain), SORRY];
    let bridged = Desired {
        fleet: Some(Arc::new(fleet)),
        ..desired(vec![(id(80), service_with(&wants))])
    };
    let plan = Machine::of(table(&[(1, 1)])).plan(&bridged, 0);
    assert!(plan.steps.is_empty(), "{:?}", texts(&plan));
}

#[test]
fn a_sorry_server_does_not_come_beside_one_of_whose_fate_nobody_knows() {
    let wanted = service_with(&[SORRY]);
    let awaited = Desired {
        awaited: true,
        ..desired(vec![(id(80), wanted)])
    };
    let plan = Machine::of(table(&[(1, 1)])).plan(&awaited, 0);
    assert!(plan.steps.is_empty(), "{:?}", texts(&plan));
}

#[test]
fn a_sorry_server_has_no_thresholds() {
    let mut wanted = service_with(&[SORRY]);
    wanted.safeguards.thresholds.upper = 5;
    let plan = Machine::of(table(&[])).plan(&desired(vec![(id(80), wanted)]), 0);
    let sorry = world::real(9, 1);
    assert_eq!(plan.steps, [Step::Ipvs(Command::AddReal(id(80), sorry))]);
}

#[test]
fn of_the_doubted_one_that_serves_goes_on_one_at_nought_is_tried_and_a_new_one_waits() {
    let doubted = |port| (port, Want::Doubt(weight(3)));
    let wanted = service_with(&[doubted(1), doubted(2), doubted(3)]);
    let plan = Machine::of(table(&[(1, 3), (2, 0)])).plan(&desired(vec![(id(80), wanted)]), 0);
    assert!(plan.steps.is_empty(), "{:?}", texts(&plan));
    assert_eq!(plan.probes, [(id(80), address(2))]);
}

#[test]
fn a_raise_that_was_planned_and_never_came_begins_anew() {
    let mut machine = Machine::of(table(&[(1, 10)]));
    let both = slow(&[(1, ten()), (2, ten())]);
    machine.ramps = machine.plan(&both, 1_000).ramps;
    // The kernel refused it, and takes it now.
    assert_eq!(weights(&mut machine, &both, 2, &[60, 61]), [1, 2]);
}
