//! Where a plan's steps are cut, and what lies on which side.

use super::world::{id, real, service_with, settings, weight};
use super::*;

fn stages(plan: &Plan) -> [Vec<String>; 6] {
    let mut from = 0;
    let ends = [&plan.stages[..], &[plan.steps.len()]].concat();
    std::array::from_fn(|stage| {
        let steps = &plan.steps[from..ends[stage]];
        from = ends[stage];
        steps.iter().map(ToString::to_string).collect()
    })
}

#[test]
fn a_plan_is_cut_before_services_before_newcomers_and_before_whatever_goes() {
    let mut wanted = service_with(&[(1, Want::Serve(weight(5)))]);
    wanted.snat = true;
    let mut machine = Machine::of(table(&[(1, 1), (2, 1)]));
    machine.addresses = Addresses::default();
    let services = vec![(id(80), service_with(&[])), (id(81), wanted)];
    assert_eq!(
        stages(&machine.plan(&desired(services), 0)),
        [
            vec![
                "edit tcp://198.18.0.29:80 -> 198.18.0.11:1 weight 0",
                "edit tcp://198.18.0.29:80 -> 198.18.0.11:2 weight 0",
            ],
            vec![
                "rewrite clients' addresses for 1 services",
                "add address 198.18.0.29",
            ],
            vec!["add tcp://198.18.0.29:81 rr"],
            vec!["add tcp://198.18.0.29:81 -> 198.18.0.11:1 weight 5"],
            vec!["forget unanswered connections to 198.18.0.29"],
            vec![],
        ]
    );
}

#[test]
fn each_step_is_in_the_stage_whose_end_comes_next() {
    let plan = Plan {
        steps: vec![Step::RemoveVip("198.18.0.29".parse().unwrap()); 6],
        stages: [2, 3, 3, 3, 5],
        ..Plan::default()
    };
    let ends: Vec<usize> = (0..6).map(|step| plan.stage_end(step)).collect();
    assert_eq!(ends, [2, 2, 3, 5, 5, 6]);
}

#[test]
fn snat_and_vips_are_taken_back_in_a_stage_of_their_own_once_it_is_known_what_is_gone() {
    let machine = Machine {
        snat: Some([id(80)].into()),
        ..Machine::of(table(&[]))
    };
    let [goes, .., tidy] = stages(&machine.plan(&desired(Vec::new()), 0));
    assert_eq!(goes, ["remove tcp://198.18.0.29:80"]);
    let expected = [
        "rewrite clients' addresses for 0 services",
        "remove address 198.18.0.29",
    ];
    assert_eq!(tidy, expected);
}

#[test]
fn settings_change_before_newcomers_come() {
    let mut wanted = service_with(&[(1, Want::Serve(weight(1)))]);
    wanted.settings = settings("wlc");
    let plan = Machine::of(table(&[])).plan(&desired(vec![(id(80), wanted)]), 0);
    let [_, _, make, raise, ..] = stages(&plan);
    assert_eq!(make, ["edit tcp://198.18.0.29:80 wlc"]);
    assert_eq!(raise.len(), 1);
}

#[test]
fn an_equal_weight_is_edited_with_the_raises_and_a_lower_one_after_them() {
    let mut machine = Machine::of(table(&[(1, 2), (2, 2), (3, 2)]));
    let wants = [(1, 3), (2, 2), (3, 1)].map(|(port, w)| (port, Want::Serve(weight(w))));
    let mut service = service_with(&wants);
    service.forwarding = ipvs::Forwarding::DirectRouting;
    let policy = desired(vec![(id(80), service)]);
    // Somebody has changed the method of all three.
    let reals = [1, 2, 3].map(|port| ipvs::RealServer {
        forwarding: ipvs::Forwarding::DirectRouting,
        ..real(port, 2)
    });
    let service = ipvs::VirtualService::new(settings("rr"), reals.to_vec());
    let before = [(id(80), service)].into_iter().collect();
    machine.applied.renew(&Scope::Whole, &policy, &before);
    let [.., raise, lower, _] = stages(&machine.plan(&policy, 0));
    let edit =
        |port, weight| format!("edit tcp://198.18.0.29:80 -> 198.18.0.11:{port} weight {weight}");
    assert_eq!(raise, [edit(1, 3), edit(2, 2)]);
    assert_eq!(lower, [edit(3, 1)]);
}

#[test]
fn whatever_is_lowered_is_lowered_before_anything_is_removed() {
    let machine = Machine::of(table(&[(1, 2), (2, 2), (3, 2), (4, 2)]));
    let wants = [
        (1, Want::Remove),
        (2, Want::Quiesce),
        (3, Want::Drain),
        (4, Want::Serve(weight(1))),
    ];
    let plan = machine.plan(&desired(vec![(id(80), service_with(&wants))]), 0);
    assert_eq!(
        texts(&plan),
        [
            "edit tcp://198.18.0.29:80 -> 198.18.0.11:2 weight 0",
            "edit tcp://198.18.0.29:80 -> 198.18.0.11:3 weight 0",
            "edit tcp://198.18.0.29:80 -> 198.18.0.11:4 weight 1",
            "remove tcp://198.18.0.29:80 -> 198.18.0.11:1",
        ]
    );
}

#[test]
fn a_service_that_should_not_be_stays_for_a_real_server_that_starts_again_or_of_which_nobody_knows()
{
    let mut restarting = bridge::allocation(1, true);
    restarting.tasks[0].state = crate::model::fleet::TaskState::Pending;
    let fleet = crate::model::fleet::Fleet::new([restarting]);
    let starts_again = Desired {
        fleet: Some(std::sync::Arc::new(fleet)),
        ..desired(Vec::new())
    };
    let awaited = Desired {
        awaited: true,
        ..desired(Vec::new())
    };
    for desired in [starts_again, awaited] {
        let plan = Machine::of(table(&[(1, 0)])).plan(&desired, 0);
        assert!(plan.steps.is_empty(), "{:?}", plan.steps);
    }
}

#[test]
fn services_are_told_apart_by_identity_whichever_side_has_more() {
    let current = |ports: &[u16]| -> Table {
        let one = |port: &u16| {
            let reals = vec![real(1, 0)];
            (id(*port), ipvs::VirtualService::new(settings("rr"), reals))
        };
        ports.iter().map(one).collect()
    };
    let remove = service_with(&[(1, Want::Remove)]);
    let wanted = |ports: &[u16]| desired(ports.iter().map(|p| (id(*p), remove.clone())).collect());
    let steps = |machine: &[u16], wants: &[u16]| {
        let mut machine = Machine::of(current(machine));
        for port in 80..90 {
            let idle = Connections::default();
            machine
                .connections
                .insert((id(port), world::address(1)), idle);
        }
        texts(&machine.plan(&wanted(wants), 0))
    };
    assert_eq!(
        steps(&[80, 81, 83], &[81, 82]),
        [
            "remove tcp://198.18.0.29:80 -> 198.18.0.11:1",
            "remove tcp://198.18.0.29:81 -> 198.18.0.11:1",
            "remove tcp://198.18.0.29:83 -> 198.18.0.11:1",
            "remove tcp://198.18.0.29:80",
            "remove tcp://198.18.0.29:83",
            "add tcp://198.18.0.29:82 rr",
        ]
    );
}
