//! A forwarding method is for life.

use super::*;

const DIRECT: Forwarding = Forwarding::DirectRouting;
const MASQUERADE: Forwarding = Forwarding::Masquerade;

/// A service that is to go by direct routing, with this about its only instance.
fn direct(want: Want) -> Desired {
    let mut service = service_with(&[(1, want)]);
    service.forwarding = DIRECT;
    desired(vec![(id(80), service)])
}

/// The kernel's real server, as it was applied last or by another hand.
fn machine(weight: u32, method: Forwarding, applied: Option<Forwarding>) -> Machine {
    let by = |forwarding| {
        let real = ipvs::RealServer {
            forwarding,
            ..real(1, weight)
        };
        let service = ipvs::VirtualService::new(world::settings("rr"), vec![real]);
        [(id(80), service)].into_iter().collect::<Table>()
    };
    let mut machine = Machine::of(by(method));
    if let Some(applied) = applied {
        let policy = direct(Want::Keep);
        machine.applied.renew(&Scope::Whole, &policy, &by(applied));
    }
    machine
}

/// The methods that real servers are given.
fn methods(plan: &Plan) -> Vec<(Forwarding, u32)> {
    let method = |step: &Step| match step {
        Step::Ipvs(Command::EditReal(_, real) | Command::AddReal(_, real)) => {
            Some((real.forwarding, real.weight.get()))
        }
        _ => None,
    };
    plan.steps.iter().filter_map(method).collect()
}

#[test]
fn one_that_serves_keeps_its_method_whatever_its_service_has_now() {
    for want in [Want::Serve(weight(1)), Want::Warm(weight(1))] {
        for applied in [Some(MASQUERADE), None] {
            let plan = machine(1, MASQUERADE, applied).plan(&direct(want), 0);
            assert_eq!(methods(&plan), [], "{want:?}");
            assert!(plan.offers_due.is_empty(), "{want:?}");
        }
        let mut heavier = machine(1, MASQUERADE, Some(MASQUERADE));
        heavier.count(1, 0);
        let plan = heavier.plan(&direct(Want::Serve(weight(7))), 0);
        assert_eq!(methods(&plan), [(MASQUERADE, 7)]);
    }
}

#[test]
fn a_method_that_another_hand_has_changed_is_put_back() {
    let by_hand = machine(1, MASQUERADE, Some(DIRECT));
    for want in [Want::Serve(weight(1)), Want::Warm(weight(1))] {
        assert_eq!(methods(&by_hand.plan(&direct(want), 0)), [(DIRECT, 1)]);
    }
}

#[test]
fn one_that_gets_nothing_and_has_nothing_open_goes_over() {
    for want in [Want::Quiesce, Want::Warm(weight(1))] {
        let mut machine = machine(0, MASQUERADE, Some(MASQUERADE));
        assert_eq!(methods(&machine.plan(&direct(want), 0)), [], "not counted");
        machine.count(1, 3);
        assert_eq!(
            methods(&machine.plan(&direct(want), 0)),
            [],
            "something is open"
        );
        machine.count(1, 0);
        let plan = machine.plan(&direct(want), 0);
        assert_eq!(methods(&plan), [(DIRECT, 0)], "{want:?}");
        assert!(plan.probes.is_empty(), "{want:?}");
        let is_tried = matches!(want, Want::Warm(_));
        assert_eq!(plan.offers_due.len(), usize::from(is_tried), "{want:?}");
    }
}

#[test]
fn a_newcomer_is_tried_by_its_services_method_and_one_with_another_by_its_own() {
    let warm = direct(Want::Warm(weight(1)));
    let plan = Machine::of(table(&[])).plan(&warm, 0);
    assert_eq!(
        (plan.offers_due, plan.probes),
        (vec![(id(80), address(1))], vec![])
    );
    let plan = machine(0, DIRECT, Some(DIRECT)).plan(&warm, 0);
    assert_eq!(
        (plan.offers_due, plan.probes),
        (vec![(id(80), address(1))], vec![])
    );
    let plan = machine(0, MASQUERADE, Some(MASQUERADE)).plan(&warm, 0);
    assert_eq!(
        (plan.offers_due, plan.probes),
        (vec![], vec![(id(80), address(1))])
    );
    let serve = direct(Want::Serve(weight(1)));
    let plan = Machine::of(table(&[])).plan(&serve, 0);
    assert_eq!(methods(&plan), [(DIRECT, 1)]);
}

#[test]
fn one_with_direct_routing_that_gets_nothing_comes_back_by_masquerade_for_its_node_lets_nothing_in()
{
    let serve = desired(vec![(id(80), service_with(&[(1, Want::Serve(weight(1)))]))]);
    let mut quiesced = machine(0, DIRECT, Some(DIRECT));
    quiesced.count(1, 3);
    assert_eq!(methods(&quiesced.plan(&serve, 0)), [(MASQUERADE, 1)]);
    let serving = machine(1, DIRECT, Some(DIRECT));
    assert_eq!(methods(&serving.plan(&serve, 0)), []);
}

#[test]
fn one_that_another_hand_has_removed_comes_back_as_it_was_if_that_needs_no_node() {
    for want in [Want::Serve(weight(1)), Want::Warm(weight(1))] {
        let mut lost = machine(1, MASQUERADE, Some(MASQUERADE));
        lost.table = table(&[]);
        assert_eq!(methods(&lost.plan(&direct(want), 0)), [(MASQUERADE, 1)]);
    }
    let mut lost = machine(1, DIRECT, Some(DIRECT));
    lost.table = table(&[]);
    let plan = lost.plan(&direct(Want::Warm(weight(1))), 0);
    assert_eq!((methods(&plan), plan.offers_due.len()), (vec![], 1));
}

#[test]
fn another_hands_method_does_not_count_as_applied_though_a_pass_has_left_it() {
    let mut by_hand = machine(1, DIRECT, Some(MASQUERADE));
    let masquerade = |want| desired(vec![(id(80), service_with(&[(1, want)]))]);
    let before = machine(1, MASQUERADE, None).table;
    by_hand
        .applied
        .renew(&Scope::Whole, &masquerade(Want::Keep), &before);
    let keep = masquerade(Want::Keep);
    assert_eq!(methods(&by_hand.plan(&keep, 0)), []);
    by_hand.applied.renew(&Scope::Whole, &keep, &by_hand.table);
    let serve = masquerade(Want::Serve(weight(1)));
    assert_eq!(methods(&by_hand.plan(&serve, 0)), [(MASQUERADE, 1)]);
}
