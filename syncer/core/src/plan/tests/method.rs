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
        let wanted = direct(Want::Keep);
        machine.applied.renew(&Scope::Whole, &wanted, &by(applied));
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
        assert!(plan.probes.is_empty() && plan.offers_due.is_empty());
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
