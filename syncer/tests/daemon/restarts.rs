//! The daemon itself ends, is killed, or starts on a bad day.

use std::time::Duration;

use ipvs::fake::FakeKernel;
use ipvs::{Connections, ServiceId};
use syncer_core::plan::Step;

use super::fake::Fault;
use super::harness::{Lab, address, allocation};

const BOTH: [&str; 2] = ["198.18.0.11:20000 1", "198.18.0.11:20001 1"];

/// Steps that touch the table.
fn touched(lab: &Lab) -> Vec<String> {
    let inside = lab.director.inside();
    inside
        .steps
        .iter()
        .filter(|step| matches!(step, Step::Ipvs(_)))
        .map(ToString::to_string)
        .collect()
}

#[tokio::test]
async fn a_restart_does_not_touch_the_table() {
    let lab = Lab::with(&[0, 1]).await;
    let daemon = lab.daemon();
    lab.expect(&BOTH).await;
    daemon.end().await;
    assert_eq!(lab.director.rows().len(), 2, "on exit the data plane stays");
    lab.director.inside().steps.clear();
    let daemon = lab.daemon();
    daemon.becomes("ready", |status| status.ready).await;
    lab.stays(&BOTH).await;
    assert!(touched(&lab).is_empty(), "{:?}", touched(&lab));
}

#[tokio::test]
async fn what_happened_while_it_was_down_is_made_up_for() {
    let lab = Lab::with(&[0, 1]).await;
    let daemon = lab.daemon();
    lab.expect(&BOTH).await;
    daemon.kill().await;
    lab.nomad
        .change(|world| world.allocations[1] = allocation(1, "complete", "stop", "dead"));
    lab.consul
        .change(|world| drop(world.services.get_mut("web").unwrap().pop()));
    let _daemon = lab.daemon();
    lab.expect(&["198.18.0.11:20000 1"]).await;
}

#[tokio::test]
async fn after_a_boot_with_its_sources_down_the_last_table_serves_marked_stale() {
    let lab = Lab::with(&[0, 1]).await;
    let daemon = lab.daemon();
    lab.expect(&BOTH).await;
    daemon.end().await;
    *lab.director.inside() = super::kernel::Inside {
        kernel: FakeKernel::default(),
        ..Default::default()
    };
    for fake in [&lab.consul, &lab.nomad] {
        fake.change(|world| world.fault = Fault::Status500);
    }
    let daemon = lab.daemon();
    lab.expect(&BOTH).await;
    let status = daemon.status().await;
    assert!(status.stale && !status.ready, "{status:?}");
    assert_eq!(status.services[0].declared, "disk");
    assert!(
        lab.director
            .inside()
            .addresses
            .ours
            .contains(&"198.18.0.29".parse().unwrap())
    );
    for fake in [&lab.consul, &lab.nomad] {
        fake.change(|world| world.fault = Fault::None);
    }
    daemon.becomes("fresh", |status| !status.stale).await;
    assert_eq!(lab.director.rows().len(), 2);
}

#[tokio::test]
async fn a_drain_keeps_its_deadline_over_a_kill() {
    let lab = Lab::with(&[0, 1]).await;
    let daemon = lab.daemon();
    lab.expect(&BOTH).await;
    let id: ServiceId = "198.18.0.29:80".parse().unwrap();
    let busy = Connections {
        active: 1,
        ..Connections::default()
    };
    lab.director
        .inside()
        .kernel
        .connections
        .insert((id, address(1)), busy);
    lab.nomad
        .change(|world| world.allocations[1] = allocation(1, "running", "stop", "running"));
    lab.expect(&["198.18.0.11:20000 1", "198.18.0.11:20001 0"])
        .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = daemon.status().await.services[0].real_servers[1]
        .deadline_ms
        .unwrap();
    daemon.kill().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let daemon = lab.daemon();
    daemon.becomes("ready", |status| status.ready).await;
    let after = daemon.status().await.services[0].real_servers[1]
        .deadline_ms
        .unwrap();
    assert!(after + 400 < before, "{before} ms were left, then {after}");
}
