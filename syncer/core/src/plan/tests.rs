//! Plans of single situations, and properties of all of them.
//!
//! The world of the properties is small on purpose: few services, few addresses, all states. What matters is met often.

mod any;
mod bridge;
mod drains;
mod method;
mod properties;
mod safeguards;
mod scope;
mod stages;
mod surroundings;
mod world;

use std::net::IpAddr;
use std::sync::Arc;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ipvs::{Command, Connections, Forwarding, Weight};

use super::*;
use crate::desired::{Declared, DesiredService, Endpoint, Scope, Want};
use crate::model::safeguard::Safeguards;
use world::{address, id, real, service_with, weight};

fn ownership() -> Ownership {
    Ownership::of(vec!["198.18.0.0/24".parse().unwrap()])
}

fn desired(services: Vec<(ServiceId, DesiredService)>) -> Desired {
    Desired {
        services: services
            .into_iter()
            .map(|(id, service)| (id, Arc::new(service)))
            .collect(),
        complete: true,
        ..Desired::default()
    }
}

fn table(reals: &[(u16, u32)]) -> Table {
    let reals = reals
        .iter()
        .map(|(port, weight)| real(*port, *weight))
        .collect();
    [(
        id(80),
        ipvs::VirtualService::new(world::settings("rr"), reals),
    )]
    .into_iter()
    .collect()
}

struct Machine {
    table: Table,
    applied: SavedTable,
    connections: BTreeMap<(ServiceId, SocketAddr), Connections>,
    addresses: Addresses,
    snat: Option<SnatSet>,
    snat_lost: bool,
    sysctls: Sysctls,
    drains: Drains,
    ramps: Ramps,
}

impl Machine {
    fn of(table: Table) -> Self {
        let vip: BTreeSet<IpAddr> = ["198.18.0.29".parse().unwrap()].into();
        let addresses = Addresses {
            present: vip.clone(),
            ours: vip,
            ..Addresses::default()
        };
        let (connections, snat, drains) =
            (BTreeMap::new(), Some(SnatSet::new()), Drains::default());
        Self {
            table,
            applied: SavedTable::default(),
            connections,
            addresses,
            snat,
            snat_lost: false,
            sysctls: Sysctls::new(),
            drains,
            ramps: Ramps::new(),
        }
    }

    fn plan(&self, desired: &Desired, now: u64) -> Plan {
        let observed = Observed {
            table: &self.table,
            applied: &self.applied,
            connections: &self.connections,
            ramps: &self.ramps,
            addresses: &self.addresses,
            snat: self.snat.as_ref(),
            snat_lost: self.snat_lost,
            sysctls: &self.sysctls,
        };
        plan(
            desired,
            &observed,
            &self.drains,
            &ownership(),
            &Scope::Whole,
            Moment(now),
        )
    }

    fn count(&mut self, port: u16, active: u32) {
        let connections = Connections {
            active,
            ..Connections::default()
        };
        self.connections
            .insert((id(80), address(port)), connections);
    }
}

fn texts(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(ToString::to_string).collect()
}

#[test]
fn a_new_service_gets_snat_then_its_vip_then_itself_then_its_real_servers_then_a_clean_start() {
    let mut wanted = service_with(&[(1, Want::Serve(weight(5)))]);
    wanted.snat = true;
    let machine = Machine {
        addresses: Addresses::default(),
        ..Machine::of(Table::default())
    };
    let plan = machine.plan(&desired(vec![(id(80), wanted)]), 0);
    assert_eq!(
        texts(&plan),
        [
            "rewrite clients' addresses for 1 services",
            "add address 198.18.0.29",
            "add tcp://198.18.0.29:80 rr",
            "add tcp://198.18.0.29:80 -> 198.18.0.11:1 weight 5",
            "forget unanswered connections to 198.18.0.29",
        ]
    );
}

#[test]
fn new_real_servers_come_before_old_ones_are_quiesced() {
    let machine = Machine::of(table(&[(1, 1), (2, 0)]));
    let wants = [
        (1, Want::Drain),
        (2, Want::Serve(weight(1))),
        (3, Want::Serve(weight(1))),
    ];
    let plan = machine.plan(&desired(vec![(id(80), service_with(&wants))]), 0);
    assert_eq!(
        texts(&plan),
        [
            "edit tcp://198.18.0.29:80 -> 198.18.0.11:2 weight 1",
            "add tcp://198.18.0.29:80 -> 198.18.0.11:3 weight 1",
            "edit tcp://198.18.0.29:80 -> 198.18.0.11:1 weight 0",
        ]
    );
}

#[test]
fn wants_that_depend_on_what_is_there_are_resolved() {
    let wants = [Want::Quiesce, Want::Drain, Want::Remove, Want::Keep];
    for want in wants {
        let plan =
            Machine::of(table(&[])).plan(&desired(vec![(id(80), service_with(&[(1, want)]))]), 0);
        assert!(plan.steps.is_empty(), "{want:?}: none if new");
    }
    let known = |want| {
        texts(
            &Machine::of(table(&[(1, 4)]))
                .plan(&desired(vec![(id(80), service_with(&[(1, want)]))]), 0),
        )
    };
    assert_eq!(
        known(Want::Quiesce),
        ["edit tcp://198.18.0.29:80 -> 198.18.0.11:1 weight 0"]
    );
    assert_eq!(
        known(Want::Remove),
        ["remove tcp://198.18.0.29:80 -> 198.18.0.11:1"]
    );
    assert!(known(Want::Keep).is_empty());
    assert_eq!(
        known(Want::Warm(weight(9))),
        ["edit tcp://198.18.0.29:80 -> 198.18.0.11:1 weight 9"]
    );
}

#[test]
fn a_cold_endpoint_is_tried_first_whether_new_or_quiesced() {
    for current in [table(&[]), table(&[(1, 0)])] {
        let warm = desired(vec![(id(80), service_with(&[(1, Want::Warm(weight(1)))]))]);
        let plan = Machine::of(current).plan(&warm, 0);
        assert!(plan.steps.is_empty());
        assert_eq!(plan.probes, [(id(80), address(1))]);
    }
}

#[test]
fn of_two_real_servers_of_a_node_with_direct_routing_one_that_ended_goes_once_it_is_idle() {
    let direct = |ports: &[u16]| -> Table {
        let real = |port: &u16| RealServer {
            forwarding: Forwarding::DirectRouting,
            ..real(*port, 1)
        };
        let service =
            ipvs::VirtualService::new(world::settings("rr"), ports.iter().map(real).collect());
        [(id(80), service)].into_iter().collect()
    };
    let plan = |ports: &[u16], active: Option<u32>| {
        let mut endpoints: Vec<(u16, Want)> = ports
            .iter()
            .map(|port| (*port, Want::Serve(weight(1))))
            .collect();
        endpoints[0].1 = Want::Remove;
        let mut service = service_with(&endpoints);
        service.forwarding = Forwarding::DirectRouting;
        let desired = desired(vec![(id(80), service)]);
        let mut machine = Machine::of(direct(ports));
        let counts = active.map(|active| Connections {
            active,
            inactive: 7,
            ..Connections::default()
        });
        let key = (id(80), address(1));
        machine
            .connections
            .extend(counts.map(|counts| (key, counts)));
        if let Some(service) = counts.and(machine.table.get(&id(80))).cloned() {
            let quiesced = service.reals()[0].with_weight(Weight::ZERO);
            machine
                .table
                .apply(&Command::EditReal(id(80), quiesced))
                .unwrap();
        }
        let steps = machine.plan(&desired, 0).steps;
        steps.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let only = plan(&[1], None);
    assert!(only[0].starts_with("remove"), "{only:?}");
    let both = plan(&[1, 2], None);
    assert_eq!(both.len(), 1, "{both:?}");
    assert!(both[0].contains("weight 0"), "{both:?}");
    assert_eq!(plan(&[1, 2], Some(3)), Vec::<String>::new());
    let idle = plan(&[1, 2], Some(0));
    assert!(idle[0].starts_with("remove"), "{idle:?}");
}

#[test]
fn a_service_that_should_not_be_goes_after_its_last_real_server_and_takes_its_vip_along() {
    let none = desired(Vec::new());
    let mut machine = Machine::of(table(&[(1, 1)]));
    let first = machine.plan(&none, 0);
    assert_eq!(
        texts(&first),
        ["edit tcp://198.18.0.29:80 -> 198.18.0.11:1 weight 0"]
    );
    machine = Machine {
        drains: first.drains,
        ..Machine::of(table(&[(1, 0)]))
    };
    machine.count(1, 0);
    assert_eq!(
        texts(&machine.plan(&none, 200)),
        [
            "remove tcp://198.18.0.29:80 -> 198.18.0.11:1",
            "remove tcp://198.18.0.29:80",
            "remove address 198.18.0.29",
        ]
    );
}

#[test]
fn before_the_sources_are_read_nothing_is_taken_away() {
    let machine = Machine {
        snat: Some([id(80)].into()),
        ..Machine::of(table(&[(1, 1)]))
    };
    let incomplete = Desired {
        complete: false,
        ..desired(vec![(id(80), service_with(&[(2, Want::Serve(weight(1)))]))])
    };
    assert!(machine.plan(&incomplete, 0).steps.is_empty());
    assert!(machine.plan(&Desired::default(), 0).steps.is_empty());
}

#[test]
fn what_was_quiesced_after_the_disk_was_written_does_not_serve_again_before_the_sources_are_read() {
    let of_disk = || DesiredService {
        complete: false,
        ..service_with(&[(1, Want::Serve(weight(1))), (2, Want::Serve(weight(1)))])
    };
    let machine = Machine::of(table(&[(1, 0)]));
    let unread = Desired {
        complete: false,
        ..desired(vec![(id(80), of_disk())])
    };
    assert!(machine.plan(&unread, 0).steps.is_empty());
    let one_unread = desired(vec![(id(80), of_disk())]);
    assert!(machine.plan(&one_unread, 0).steps.is_empty());
    let empty = Machine::of(table(&[]));
    assert_eq!(
        texts(&empty.plan(&unread, 0)),
        [
            "add tcp://198.18.0.29:80 -> 198.18.0.11:1 weight 1",
            "add tcp://198.18.0.29:80 -> 198.18.0.11:2 weight 1"
        ],
        "a kernel that has nothing of it gets what the disk has"
    );
}

#[test]
fn what_is_not_ours_is_not_touched() {
    let foreign: ServiceId = "192.0.2.1:80".parse().unwrap();
    let mark: ServiceId = "fwmark:1".parse().unwrap();
    let service = ipvs::VirtualService::new(world::settings("rr"), vec![real(1, 1)]);
    let machine = Machine::of(
        [(foreign, service.clone()), (mark, service)]
            .into_iter()
            .collect(),
    );
    assert_eq!(
        texts(&machine.plan(&desired(Vec::new()), 0)),
        ["remove address 198.18.0.29"]
    );
}

#[test]
fn settings_that_differ_are_edited() {
    let machine = Machine::of(table(&[(1, 1)]));
    let mut wanted = service_with(&[(1, Want::Serve(weight(1)))]);
    wanted.settings = world::settings("wlc");
    let plan = machine.plan(&desired(vec![(id(80), wanted)]), 0);
    assert!(matches!(
        plan.steps[..],
        [Step::Ipvs(Command::EditService(..))]
    ));
}

#[test]
fn words_of_the_steps_name_what_they_touch() {
    let steps = [
        Step::RemoveVip("198.18.0.29".parse().unwrap()),
        Step::ForgetFlows(id(80), address(1)),
    ];
    let texts: Vec<String> = steps.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "remove address 198.18.0.29",
            "forget flows tcp://198.18.0.29:80 -> 198.18.0.11:1"
        ]
    );
}

/// Endpoint and service with nothing special, for the cases above.
fn endpoint(port: u16, want: Want) -> Endpoint {
    Endpoint {
        address: address(port),
        want,
        phase: None,
        health: None,
        alloc: None,
        held: false,
    }
}

fn plain_service(endpoints: Vec<Endpoint>) -> DesiredService {
    DesiredService {
        name: "web".into(),
        settings: world::settings("rr"),
        forwarding: ipvs::Forwarding::Masquerade,
        snat: false,
        drain: Duration::from_mins(1),
        safeguards: Safeguards::default(),
        declared: Declared::Config,
        complete: true,
        endpoints,
    }
}
