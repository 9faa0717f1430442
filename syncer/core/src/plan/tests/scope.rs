//! A plan of a part is the plan of the whole.

use proptest::prelude::*;

use super::properties::{any_desired, any_world};
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
