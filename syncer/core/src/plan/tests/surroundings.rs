//! SNAT and addresses: what all virtual services need together.

use super::world::{id, real, service_with, settings, weight};
use super::*;

const ONE: &str = "198.18.0.29";
const OTHER: &str = "198.18.0.30";

fn at(vip: &str, port: u16) -> ServiceId {
    format!("{vip}:{port}").parse().unwrap()
}

fn rewritten(snat: bool) -> DesiredService {
    DesiredService {
        snat,
        ..service_with(&[])
    }
}

fn addresses(present: &[&str], ours: &[&str]) -> Addresses {
    let parsed = |all: &[&str]| all.iter().map(|vip| vip.parse().unwrap()).collect();
    Addresses {
        present: parsed(present),
        ours: parsed(ours),
        ..Addresses::default()
    }
}

#[test]
fn connections_are_forgotten_only_where_a_vip_is_new_and_clients_are_rewritten() {
    let steps = |snat: bool, machine: Machine| {
        let mut wanted = service_with(&[(1, Want::Serve(weight(5)))]);
        wanted.snat = snat;
        texts(&machine.plan(&desired(vec![(id(80), wanted)]), 0))
    };
    let forgets = |steps: Vec<String>| steps.iter().any(|step| step.starts_with("forget"));
    let anew = || Machine {
        addresses: Addresses::default(),
        ..Machine::of(Table::default())
    };
    assert!(forgets(steps(true, anew())));
    assert!(!forgets(steps(false, anew())));
    assert!(!forgets(steps(true, Machine::of(Table::default()))));
}

#[test]
fn snat_of_a_service_on_its_way_out_stays_until_it_is_gone() {
    let none = desired(Vec::new());
    let mut machine = Machine {
        snat: Some([id(80)].into()),
        ..Machine::of(table(&[(1, 0)]))
    };
    machine.count(1, 2);
    assert!(machine.plan(&none, 0).steps.is_empty());
    machine.count(1, 0);
    let steps = texts(&machine.plan(&none, 0));
    assert_eq!(
        steps[2], "rewrite clients' addresses for 0 services",
        "{steps:?}"
    );
}

#[test]
fn snat_that_was_not_read_is_set_again() {
    let mut wanted = service_with(&[]);
    wanted.snat = true;
    let machine = Machine {
        snat: None,
        ..Machine::of(table(&[]))
    };
    assert_eq!(
        machine.plan(&desired(vec![(id(80), wanted)]), 0).steps,
        [Step::SetSnat([id(80)].into())]
    );
}

#[test]
fn who_was_tracked_while_the_rules_were_gone_gets_a_clean_start_and_after_a_mere_start_nobody_does()
{
    let rewritten = || {
        let mut wanted = service_with(&[(1, Want::Serve(weight(1)))]);
        wanted.snat = true;
        vec![(id(80), wanted)]
    };
    let vip = "198.18.0.29".parse().unwrap();
    let (set, forget) = (Step::SetSnat([id(80)].into()), Step::ForgetUnanswered(vip));
    let plan = |snat: Option<SnatSet>, snat_lost| {
        let machine = Machine {
            snat,
            snat_lost,
            ..Machine::of(table(&[(1, 1)]))
        };
        machine.plan(&desired(rewritten()), 0).steps
    };
    let both = [set.clone(), forget];
    assert_eq!(plan(None, true), both, "all rules are gone");
    assert_eq!(plan(Some(SnatSet::new()), true), both, "its own is gone");
    assert_eq!(plan(None, false), [set], "nobody has looked yet");
    assert_eq!(plan(Some([id(80)].into()), true), []);
}

#[test]
fn an_address_that_somebody_else_added_is_used_and_left_behind() {
    let mut machine = Machine::of(table(&[]));
    machine.addresses.ours.clear();
    assert_eq!(
        texts(&machine.plan(&desired(Vec::new()), 0)),
        ["remove tcp://198.18.0.29:80"]
    );
}

#[test]
fn of_two_new_vips_only_the_one_with_rewritten_clients_starts_clean() {
    let machine = Machine {
        addresses: Addresses::default(),
        snat: Some([at(OTHER, 80)].into()),
        ..Machine::of(Table::default())
    };
    let services = vec![
        (at(ONE, 80), rewritten(false)),
        (at(OTHER, 80), rewritten(true)),
    ];
    assert_eq!(
        texts(&machine.plan(&desired(services), 0)),
        [
            "add address 198.18.0.29",
            "add address 198.18.0.30",
            "add tcp://198.18.0.29:80 rr",
            "add tcp://198.18.0.30:80 rr",
            "forget unanswered connections to 198.18.0.30",
        ]
    );
}

#[test]
fn datagrams_to_a_vip_that_was_here_for_another_service_are_tracked_anew_with_their_own() {
    let udp = format!("udp://{ONE}:7").parse().unwrap();
    let plan = |services: Vec<(ServiceId, DesiredService)>| {
        let machine = Machine {
            snat: Some([at(ONE, 80), at(ONE, 81), udp].into()),
            ..Machine::of(table(&[(1, 1)]))
        };
        texts(&machine.plan(&desired(services), 0))
    };
    let old = || (at(ONE, 80), service_with(&[(1, Want::Serve(weight(1)))]));
    let forgets = |steps: &[String]| steps.iter().any(|step| step.contains("unanswered"));
    assert!(forgets(&plan(vec![old(), (udp, rewritten(true))])));
    assert!(!forgets(&plan(vec![old(), (udp, rewritten(false))])));
    // Its client was refused, and begins again from another port.
    assert!(!forgets(&plan(vec![old(), (at(ONE, 81), rewritten(true))])));
}

#[test]
fn addresses_that_are_missing_are_added_and_those_of_ours_that_nobody_needs_go() {
    let present = ["198.18.0.28", ONE, "198.18.0.31"];
    let machine = Machine {
        addresses: addresses(&present, &["198.18.0.28", ONE, "198.18.0.99"]),
        ..Machine::of(Table::default())
    };
    let services = [ONE, OTHER, "198.18.0.32"].map(|vip| (at(vip, 80), rewritten(false)));
    let texts = texts(&machine.plan(&desired(services.into()), 0));
    let addresses: Vec<_> = texts
        .iter()
        .filter(|step| step.contains("address"))
        .collect();
    assert_eq!(
        addresses,
        [
            "add address 198.18.0.30",
            "add address 198.18.0.32",
            "remove address 198.18.0.28",
        ],
        "{texts:?}"
    );
}

#[test]
fn the_vip_of_a_service_on_its_way_out_is_kept_wherever_it_stands_in_order() {
    let current = |vip| {
        let drains = vec![real(1, 0)];
        let service = ipvs::VirtualService::new(settings("rr"), drains);
        (at(vip, 80), service)
    };
    for (goes, stays) in [(ONE, OTHER), (OTHER, ONE)] {
        let machine = Machine {
            addresses: addresses(&[ONE, OTHER], &[ONE, OTHER]),
            ..Machine::of([current(ONE), current(OTHER)].into_iter().collect())
        };
        let kept = service_with(&[(1, Want::Keep)]);
        let plan = machine.plan(&desired(vec![(at(stays, 80), kept)]), 0);
        assert!(plan.steps.is_empty(), "{goes} goes: {:?}", plan.steps);
    }
}

#[test]
fn snat_is_widened_first_and_narrowed_last_with_nothing_lost_between() {
    let machine = Machine {
        snat: Some([id(80), id(90)].into()),
        ..Machine::of(table(&[]))
    };
    let services = vec![(id(80), rewritten(true)), (id(81), rewritten(true))];
    let steps = machine.plan(&desired(services), 0).steps;
    assert_eq!(
        steps.first(),
        Some(&Step::SetSnat([id(80), id(81), id(90)].into()))
    );
    assert_eq!(steps.last(), Some(&Step::SetSnat([id(80), id(81)].into())));
}

#[test]
fn snat_that_is_only_too_wide_is_narrowed_and_snat_that_is_right_is_left() {
    let steps = |snat: &[u16]| {
        let machine = Machine {
            snat: Some(snat.iter().map(|port| id(*port)).collect()),
            ..Machine::of(table(&[]))
        };
        machine
            .plan(&desired(vec![(id(80), rewritten(true))]), 0)
            .steps
    };
    assert_eq!(steps(&[80, 90]), [Step::SetSnat([id(80)].into())]);
    assert!(steps(&[80]).is_empty());
    assert_eq!(steps(&[]), [Step::SetSnat([id(80)].into())]);
}

#[test]
fn rules_stay_for_real_servers_that_go_by_masquerade_beside_direct_routing() {
    let steps = |want: Want, method: Forwarding, snat: Option<SnatSet>| {
        let mut wanted = service_with(&[(1, want)]);
        wanted.forwarding = Forwarding::DirectRouting;
        let real = RealServer {
            forwarding: method,
            ..real(1, 1)
        };
        let service = ipvs::VirtualService::new(settings("rr"), vec![real]);
        let machine = Machine {
            snat,
            ..Machine::of([(id(80), service)].into_iter().collect())
        };
        texts(&machine.plan(&desired(vec![(id(80), wanted)]), 0))
    };
    let set = || Some([id(80)].into());
    for want in [Want::Warm(weight(1)), Want::Serve(weight(1))] {
        let steps = |snat| steps(want, Forwarding::Masquerade, snat);
        assert_eq!(steps(set()), Vec::<String>::new());
        // After a start, or after somebody has flushed them.
        let unread = steps(None);
        assert_eq!(unread, ["rewrite clients' addresses for 1 services"]);
    }
    let last_gone = steps(Want::Serve(weight(1)), Forwarding::DirectRouting, set());
    assert_eq!(last_gone, ["rewrite clients' addresses for 0 services"]);
}

#[test]
fn an_empty_snat_that_was_not_read_is_set_once() {
    let machine = Machine {
        snat: None,
        ..Machine::of(table(&[]))
    };
    let steps = machine
        .plan(&desired(vec![(id(80), rewritten(false))]), 0)
        .steps;
    assert_eq!(steps, [Step::SetSnat(SnatSet::new())]);
}

#[test]
fn before_the_sources_are_read_snat_is_only_widened() {
    let machine = Machine {
        snat: Some([id(90)].into()),
        ..Machine::of(table(&[]))
    };
    let unread = Desired {
        complete: false,
        ..desired(vec![(id(80), rewritten(true))])
    };
    assert_eq!(
        machine.plan(&unread, 0).steps,
        [Step::SetSnat([id(80), id(90)].into())]
    );
}

#[test]
fn a_sysctl_is_set_before_all_that_needs_it_and_only_if_something_does() {
    let sysctl = |name: &str, need| Sysctl {
        name: name.into(),
        value: "1",
        need,
    };
    let deviating: Sysctls = [
        sysctl("net/ipv4/ip_forward", Need::Always),
        sysctl("net/ipv4/vs/conntrack", Need::Snat),
        sysctl("net/ipv6/conf/all/forwarding", Need::Ipv6),
    ]
    .map(|sysctl| (sysctl, "0".to_owned()))
    .into();
    let steps = |snat| {
        let machine = Machine {
            sysctls: deviating.clone(),
            ..Machine::of(table(&[]))
        };
        let texts = texts(&machine.plan(&desired(vec![(id(80), rewritten(snat))]), 0));
        let of_sysctls = texts
            .into_iter()
            .take_while(|step| step.starts_with("set sysctl"));
        of_sysctls.collect::<Vec<_>>()
    };
    assert_eq!(steps(false), ["set sysctl net.ipv4.ip_forward to 1"]);
    let both = [
        "set sysctl net.ipv4.ip_forward to 1",
        "set sysctl net.ipv4.vs.conntrack to 1",
    ];
    assert_eq!(steps(true), both);
}

#[test]
fn tracking_is_put_back_while_rules_are_set_for_whoever_went_over_to_another_method() {
    let conntrack = Sysctl {
        name: "net/ipv4/vs/conntrack".into(),
        value: "1",
        need: Need::Snat,
    };
    let steps = |rules: SnatSet| {
        let machine = Machine {
            snat: Some(rules),
            sysctls: [(conntrack.clone(), "0".to_owned())].into(),
            ..Machine::of(table(&[(1, 1)]))
        };
        let mut direct = rewritten(false);
        direct.forwarding = Forwarding::DirectRouting;
        texts(&machine.plan(&desired(vec![(id(80), direct)]), 0))
    };
    let set = "set sysctl net.ipv4.vs.conntrack to 1".to_owned();
    assert!(steps([id(80)].into()).contains(&set));
    assert!(!steps(SnatSet::new()).contains(&set));
}

#[test]
fn addresses_that_others_keep_are_neither_added_nor_removed() {
    let machine = |keeper| Machine {
        addresses: Addresses {
            keeper,
            ..addresses(&["198.18.0.77"], &["198.18.0.77"])
        },
        ..Machine::of(Table::default())
    };
    let steps =
        |keeper| texts(&machine(keeper).plan(&desired(vec![(id(80), rewritten(false))]), 0));
    let service = "add tcp://198.18.0.29:80 rr".to_owned();
    assert_eq!(steps(AddressKeeper::Others), std::slice::from_ref(&service));
    let managed = [
        "add address 198.18.0.29".to_owned(),
        service,
        "remove address 198.18.0.77".to_owned(),
    ];
    assert_eq!(steps(AddressKeeper::Syncer), managed);
}

#[test]
fn what_an_earlier_process_left_of_snat_stays_until_the_sources_are_read() {
    let machine = Machine {
        snat: None,
        ..Machine::of(Table::default())
    };
    let none = |complete| {
        let desired = Desired {
            complete,
            ..desired(Vec::new())
        };
        let texts = texts(&machine.plan(&desired, 0));
        texts.iter().any(|step| step.contains("for 0 services"))
    };
    assert!(none(true));
    assert!(!none(false));
}
