//! A plan of a part is the plan of the whole.

use proptest::prelude::*;

use super::any::{any_desired, any_world};
use super::world::{id, service_with};
use super::*;
use crate::desired::Scope;

proptest! {
    #[test]
    fn what_a_plan_leaves_open_is_all_that_the_next_one_has_to_look_at(
        world in any_world(), desired in any_desired(), counted in any::<bool>()
    ) {
        let mut world = world;
        let mut scope = Scope::Whole;
        for _ in 0..4 {
            let whole = world.plan(&desired, counted);
            let plan = world.plan_of(&desired, counted, &scope);
            prop_assert_eq!(&plan, &whole, "{:?}", scope);
            for step in &plan.steps {
                world.step(step);
            }
            world.drains = plan.drains;
            world.now += 25_000;
            scope = plan.next;
        }
    }
}

#[test]
fn what_may_end_rules_that_nobody_asks_for_has_the_next_plan_look_at_everything() {
    let mut machine = Machine::of(table(&[(1, 0)]));
    machine.snat = Some([id(80)].into());
    machine.count(1, 0);
    let mut wanted = service_with(&[(1, Want::Quiesce)]);
    wanted.forwarding = Forwarding::DirectRouting;
    let wanted = desired(vec![(id(80), wanted)]);
    let plan = machine.plan(&wanted, 0);
    assert_eq!(plan.next, Scope::Whole, "{:?}", texts(&plan));
    for step in &plan.steps {
        if let Step::Ipvs(command) = step {
            machine.table.apply(command).unwrap();
        }
    }
    let rest = texts(&machine.plan(&wanted, 0));
    assert!(
        rest.contains(&"rewrite clients' addresses for 0 services".to_owned()),
        "{rest:?}"
    );
}
