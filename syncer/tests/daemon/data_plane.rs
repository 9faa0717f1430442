//! What the data plane needs is watched and put right, and no pass keeps all others waiting.

use std::time::Duration;

use ipvs::Command;
use ipvs::wire::Malformed;
use serde_json::{Value, json};
use syncer_core::plan::{Need, SnatSet, Step, Sysctl};

use super::harness::{Lab, instance};

fn sysctl(name: &str, need: Need) -> Sysctl {
    Sysctl {
        name: name.into(),
        value: "1",
        need,
    }
}

#[tokio::test]
async fn a_sysctl_that_somebody_changed_is_set_again_if_anything_needs_it() {
    let lab = Lab::with(&[0]).await;
    let _daemon = lab.daemon();
    lab.expect(&["198.18.0.11:20000 1"]).await;
    let snat = sysctl("net/ipv4/vs/conntrack", Need::Snat);
    let six = sysctl("net/ipv6/conf/all/forwarding", Need::Ipv6);
    for changed in [&snat, &six] {
        let value = ("0".to_owned(), changed.clone());
        lab.director.inside().sysctls.insert(value.1, value.0);
    }
    // The service of the config has SNAT; nothing is of IPv6.
    let left = vec![six.clone()];
    let deviating = || lab.director.inside().sysctls.keys().cloned().collect();
    lab.eventually(deviating, &left).await;
    let steps = lab.director.inside().steps.clone();
    assert!(steps.contains(&Step::SetSysctl(snat)));
    assert!(!steps.contains(&Step::SetSysctl(six)));
}

#[tokio::test]
async fn rules_that_a_check_found_changed_are_set_again_at_once() {
    let lab = Lab::with(&[0]).await;
    let _daemon = lab.daemon();
    lab.expect(&["198.18.0.11:20000 1"]).await;
    let wanted = lab.director.inside().snat.clone();
    assert!(wanted.as_ref().is_some_and(|snat| !snat.is_empty()));
    let is_set = |step: &&Step| matches!(step, Step::SetSnat(_));
    let sets = || lab.director.inside().steps.iter().filter(is_set).count();
    let before = sets();
    // No reading would ever tell of it by itself.
    lab.director.finds(SnatSet::new());
    lab.eventually(sets, &(before + 1)).await;
    assert_eq!(lab.director.inside().snat, wanted);
}

#[tokio::test]
async fn an_entry_of_somebody_else_that_can_t_be_read_is_told_and_stops_nothing() {
    let lab = Lab::with(&[0]).await;
    lab.director.inside().kernel.unreadable = vec![Malformed::Scheduler];
    let daemon = lab.daemon();
    lab.expect(&["198.18.0.11:20000 1"]).await;
    let entry = "the kernel has an entry that can't be read, and it is left alone: \
                 a virtual service: a scheduler's name is unusable";
    let told = daemon
        .becomes("ready", |told| {
            told.ready && told.reasons.iter().any(|reason| reason == entry)
        })
        .await;
    assert!(!told.healthy);
    lab.director.inside().kernel.unreadable.clear();
    daemon.becomes("well", |told| told.healthy).await;
}

fn many(count: usize) -> Vec<Value> {
    let one = |n: usize| {
        json!({
            "Node": { "Node": "node1", "Address": "198.18.0.11" },
            "Service": { "ID": format!("big-{n}"), "Address": "198.18.0.12", "Port": 20000 + n,
                         "Tags": ["ipvs.vip=198.18.0.30:80"], "Weights": { "Passing": 1, "Warning": 1 } },
            "Checks": [{ "CheckID": "c", "Status": "passing", "ServiceID": format!("big-{n}") }],
        })
    };
    (0..count).map(one).collect()
}

#[tokio::test]
async fn who_goes_does_not_wait_for_a_large_addition_elsewhere() {
    let lab = Lab::with(&[0, 1]).await;
    let _daemon = lab.daemon();
    lab.expect(&["198.18.0.11:20000 1", "198.18.0.11:20001 1"])
        .await;
    lab.director.inside().slowness = Duration::from_millis(300);
    lab.consul
        .change(|world| drop(world.services.insert("big".into(), many(8_000))));
    let of_big = |step: &Step| matches!(step, Step::Ipvs(Command::AddReal(_, real)) if real.address.port() >= 20_002);
    let begun = || lab.director.inside().steps.iter().any(of_big);
    lab.eventually(begun, &true).await;
    let critical = vec![instance(0, "critical"), instance(1, "passing")];
    lab.consul
        .change(|world| drop(world.services.insert("web".into(), critical)));
    let lowered = |step: &Step| {
        let address = "198.18.0.11:20000".parse().unwrap();
        matches!(step, Step::Ipvs(Command::EditReal(_, real)) if real.address == address && !real.weight.serves())
    };
    lab.eventually(|| lab.director.inside().steps.iter().any(lowered), &true)
        .await;
    let added = lab
        .director
        .inside()
        .steps
        .iter()
        .filter(|step| of_big(step))
        .count();
    assert!(added < 7_000, "{added} were added first");
    // And all of them come, once each.
    let all = || {
        lab.director
            .inside()
            .steps
            .iter()
            .filter(|step| of_big(step))
            .count()
    };
    lab.eventually(all, &7_998).await;
}
