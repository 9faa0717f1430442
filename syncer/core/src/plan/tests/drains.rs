//! Drains: how long they last, when they are looked at again, and that they outlive the process.

use super::world::{address, id, real, service_with, weight};
use super::*;

fn drain(since: u64, deadline: u64) -> Drain {
    Drain {
        since: Moment(since),
        deadline: Moment(deadline),
    }
}

fn drains(all: &[(u16, Drain)]) -> Drains {
    Drains(
        all.iter()
            .map(|(port, drain)| ((id(80), address(*port)), *drain))
            .collect(),
    )
}

#[test]
fn a_drain_quiesces_waits_for_idleness_and_removes() {
    let gone = desired(vec![(id(80), service_with(&[]))]);
    let mut machine = Machine::of(table(&[(1, 1)]));
    machine.count(1, 0);
    let first = machine.plan(&gone, 1_000);
    assert_eq!(
        texts(&first),
        ["edit tcp://198.18.0.29:80 -> 198.18.0.11:1 weight 0"],
        "counts from before say nothing"
    );
    assert_eq!(first.wake_at, Some(Moment(1_200)));
    machine = Machine {
        drains: first.drains,
        ..Machine::of(table(&[(1, 0)]))
    };
    assert!(
        machine.plan(&gone, 1_200).steps.is_empty(),
        "without counts nobody knows that it is idle"
    );
    machine.count(1, 1);
    assert!(machine.plan(&gone, 1_200).steps.is_empty());
    machine.count(1, 0);
    let last = machine.plan(&gone, 1_400);
    assert_eq!(
        texts(&last),
        ["remove tcp://198.18.0.29:80 -> 198.18.0.11:1"]
    );
    assert!(last.drains.0.is_empty());
}

#[test]
fn a_drain_ends_at_its_deadline_and_a_clock_that_jumped_does_not_prolong_it() {
    let gone = desired(vec![(id(80), service_with(&[]))]);
    let mut machine = Machine::of(table(&[(1, 0)]));
    machine.count(1, 3);
    machine.drains = machine.plan(&gone, 1_000).drains;
    assert!(machine.plan(&gone, 60_999).steps.is_empty());
    assert_eq!(machine.plan(&gone, 61_000).steps.len(), 1);
    let (_, drain) = machine
        .plan(&gone, 500)
        .drains
        .0
        .into_iter()
        .next()
        .unwrap();
    assert_eq!(
        drain,
        Drain {
            since: Moment(500),
            deadline: Moment(60_500)
        }
    );
}

#[test]
fn an_endpoint_that_comes_back_is_a_weight_edit_and_its_drain_is_forgotten() {
    let mut machine = Machine::of(table(&[(1, 0)]));
    machine.drains = machine
        .plan(&desired(vec![(id(80), service_with(&[]))]), 0)
        .drains;
    assert_eq!(machine.drains.0.len(), 1);
    let back = desired(vec![(id(80), service_with(&[(1, Want::Serve(weight(7)))]))]);
    let plan = machine.plan(&back, 100);
    assert_eq!(
        texts(&plan),
        ["edit tcp://198.18.0.29:80 -> 198.18.0.11:1 weight 7"]
    );
    assert!(plan.drains.0.is_empty());
}

#[test]
fn a_udp_real_server_goes_at_once_with_its_flows() {
    let udp: ServiceId = "udp://198.18.0.29:53".parse().unwrap();
    let service = ipvs::VirtualService::new(world::settings("rr"), vec![real(1, 1)]);
    let machine = Machine::of([(udp, service)].into_iter().collect());
    let plan = machine.plan(&desired(vec![(udp, service_with(&[(1, Want::Drain)]))]), 0);
    let expected = [
        Step::Ipvs(Command::RemoveReal(udp, address(1))),
        Step::ForgetFlows(udp, address(1)),
    ];
    assert_eq!(plan.steps, expected);
}

#[test]
fn a_udp_real_server_that_should_not_serve_keeps_no_flow_and_comes_back_as_a_new_one() {
    let udp: ServiceId = "udp://198.18.0.29:53".parse().unwrap();
    let of = |reals| {
        let service = ipvs::VirtualService::new(world::settings("rr"), reals);
        Machine::of([(udp, service)].into_iter().collect())
    };
    let wanting = |want| desired(vec![(udp, service_with(&[(1, want)]))]);
    let critical = of(vec![real(1, 1)]).plan(&wanting(Want::Quiesce), 0);
    let expected = [
        Step::Ipvs(Command::RemoveReal(udp, address(1))),
        Step::ForgetFlows(udp, address(1)),
    ];
    assert_eq!(critical.steps, expected);
    assert!(
        of(Vec::new())
            .plan(&wanting(Want::Quiesce), 0)
            .steps
            .is_empty()
    );
    let well = of(Vec::new()).plan(&wanting(Want::Serve(weight(1))), 0);
    assert_eq!(well.steps, [Step::Ipvs(Command::AddReal(udp, real(1, 1)))]);
}

#[test]
fn drains_are_a_list_on_disk_and_come_back_as_they_were() {
    let all = drains(&[(1, drain(1, 2)), (2, drain(3, 4))]);
    let text = serde_json::to_string(&all).unwrap();
    assert!(text.starts_with('['), "{text}");
    assert_eq!(serde_json::from_str::<Drains>(&text).unwrap(), all);
}

#[test]
fn the_next_look_is_at_the_nearest_deadline_or_after_the_poll_whichever_is_first() {
    let gone = desired(vec![(id(80), service_with(&[]))]);
    let mut machine = Machine::of(table(&[(1, 0), (2, 0), (3, 0)]));
    let wake = |machine: &Machine| machine.plan(&gone, 1_000).wake_at;
    assert_eq!(wake(&machine), Some(Moment(1_200)));
    machine.drains = drains(&[(2, drain(0, 1_050)), (3, drain(0, 1_100))]);
    assert_eq!(wake(&machine), Some(Moment(1_050)));
}

#[test]
fn a_drain_that_goes_on_keeps_its_beginning_and_its_deadline() {
    let gone = desired(vec![(id(80), service_with(&[]))]);
    let mut machine = Machine::of(table(&[(1, 0)]));
    machine.drains = drains(&[(1, drain(10, 5_000))]);
    assert_eq!(machine.plan(&gone, 1_000).drains, machine.drains);
}

#[test]
fn each_service_says_how_long_its_real_servers_drain_in_the_catalogue_or_out_of_it() {
    for wants in [&[][..], &[(1, Want::Drain)]] {
        let mut short = service_with(wants);
        short.drain = Duration::from_secs(5);
        let plan = Machine::of(table(&[(1, 0)])).plan(&desired(vec![(id(80), short)]), 1_000);
        assert_eq!(plan.drains, drains(&[(1, drain(1_000, 6_000))]));
    }
}

#[test]
fn real_servers_of_a_service_without_a_policy_have_a_minute() {
    let machine = Machine::of(table(&[(1, 0)]));
    let plan = machine.plan(&desired(Vec::new()), 1_000);
    assert_eq!(plan.drains, drains(&[(1, drain(1_000, 61_000))]));
}

#[test]
fn the_last_ones_of_a_service_have_the_time_that_was_in_force_when_they_left() {
    let gone = Desired {
        leaving: [(id(80), Duration::from_secs(3))].into(),
        ..desired(Vec::new())
    };
    let mut machine = Machine::of(table(&[(1, 0)]));
    let plan = machine.plan(&gone, 1_000);
    assert_eq!(plan.drains, drains(&[(1, drain(1_000, 4_000))]));
    machine.drains = plan.drains;
    machine.count(1, 1);
    assert!(machine.plan(&gone, 3_999).steps.is_empty());
    let expected = [
        "remove tcp://198.18.0.29:80 -> 198.18.0.11:1",
        "remove tcp://198.18.0.29:80",
        "remove address 198.18.0.29",
    ];
    assert_eq!(texts(&machine.plan(&gone, 4_000)), expected);
}

#[test]
fn the_drain_of_one_that_is_kept_goes_on() {
    let mut machine = Machine::of(table(&[(1, 0)]));
    machine.drains = drains(&[(1, drain(10, 5_000))]);
    let kept = desired(vec![(id(80), service_with(&[(1, Want::Keep)]))]);
    assert_eq!(machine.plan(&kept, 1_000).drains, machine.drains);
    let empty = desired(vec![(id(80), service_with(&[]))]);
    let unread = [empty, Desired::default()].map(|desired| Desired {
        complete: false,
        ..desired
    });
    for desired in unread {
        assert_eq!(machine.plan(&desired, 1_000).drains, machine.drains);
    }
}

#[test]
fn one_that_is_quiesced_for_its_health_does_not_drain() {
    let mut machine = Machine::of(table(&[(1, 0)]));
    machine.drains = drains(&[(1, drain(10, 5_000))]);
    let quiet = desired(vec![(id(80), service_with(&[(1, Want::Quiesce)]))]);
    let plan = machine.plan(&quiet, 1_000);
    assert_eq!((plan.steps, plan.drains), (Vec::new(), Drains::default()));
}
