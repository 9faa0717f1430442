//! The registrar against an agent.

use std::time::Duration;

use ipvs_syncer::parts::Parts;
use ipvs_syncer::registrar::{self, RegistrarStatus};
use ipvs_syncer::source::nomad;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::fake::Fault;
use super::harness::{ALLOCS, Lab, allocation, job, running};

/// The registrar's own is no longer.
const AUDIT: Duration = Duration::from_secs(6);

fn start(lab: &Lab) -> ((DropGuard, Parts), watch::Receiver<RegistrarStatus>) {
    let config = lab.config();
    let stop = CancellationToken::new();
    let api = config.nomad.clone().unwrap();
    let mut parts = Parts::default();
    let fleet = nomad::start(&api, &mut parts, stop.clone()).unwrap();
    let status = registrar::start(
        &config,
        config.registrar.as_ref().unwrap(),
        &api,
        fleet,
        &mut parts,
        stop.clone(),
    )
    .unwrap();
    ((stop.drop_guard(), parts), status)
}

fn ids(lab: &Lab) -> Vec<String> {
    lab.consul
        .look(|world| world.registered.keys().cloned().collect())
}

async fn with_job(registered: bool) -> Lab {
    let lab = Lab::new().await;
    lab.nomad.change(|world| {
        world.allocations = vec![running(0)];
        world.jobs.insert(ALLOCS[0].into(), job(registered));
    });
    lab
}

#[tokio::test]
async fn a_port_that_nobody_registers_is_registered_with_a_check_and_removed_when_it_stops() {
    let lab = with_job(false).await;
    let (_running, _) = start(&lab);
    let id = format!("nomad-ipvs-{}-www-http", ALLOCS[0]);
    lab.eventually(|| ids(&lab), &vec![id.clone()]).await;
    let service = lab.consul.look(|world| world.registered[&id].clone());
    assert_eq!(
        (&service["Service"], &service["Port"]),
        (&json!("web-web-http"), &json!(20000))
    );
    assert_eq!(service["Check"]["TCP"], json!("198.18.0.11:20000"));
    lab.nomad
        .change(|world| world.allocations[0] = allocation(0, "running", "stop", "running"));
    lab.eventually(|| ids(&lab), &Vec::new()).await;
}

#[tokio::test]
async fn what_the_job_registers_is_left_to_nomad() {
    let lab = with_job(true).await;
    let (_running, _) = start(&lab);
    lab.nomad.change(|world| {
        let mut other = running(1);
        other["JobID"] = json!("other");
        world.allocations.push(other);
        world.jobs.insert(ALLOCS[1].into(), job(false));
    });
    lab.eventually(
        || ids(&lab),
        &vec![format!("nomad-ipvs-{}-www-http", ALLOCS[1])],
    )
    .await;
}

#[tokio::test]
async fn leftovers_of_ours_go_others_stay_and_a_forgetful_agent_is_told_again() {
    let lab = with_job(false).await;
    let other = |id: &str| json!({ "ID": id, "Service": id, "Address": "", "Port": 1 });
    let leftover = format!("nomad-ipvs-{}-www-http", ALLOCS[1]);
    lab.nomad.change(|world| {
        let ended = allocation(1, "complete", "stop", "dead");
        world.allocations.push(ended);
    });
    lab.consul.change(|world| {
        for id in [&leftover, "by-hand"] {
            world.registered.insert(id.into(), other(id));
        }
    });
    let (_running, _) = start(&lab);
    let ours = format!("nomad-ipvs-{}-www-http", ALLOCS[0]);
    lab.eventually(|| ids(&lab), &vec!["by-hand".to_owned(), ours.clone()])
        .await;
    lab.consul.change(|world| world.registered.clear());
    lab.eventually(|| ids(&lab), &vec![ours]).await;
}

#[tokio::test]
async fn a_nomad_that_fails_takes_no_registration_away() {
    let lab = with_job(false).await;
    let (_running, _) = start(&lab);
    lab.eventually(|| ids(&lab).len(), &1).await;
    lab.nomad.change(|world| {
        world.fault = Fault::Status500;
        world.allocations.clear();
    });
    for _ in 0..2 {
        next_audit(&lab).await;
        assert_eq!(ids(&lab).len(), 1);
    }
}

/// Lets the registrar's timer run out, and waits until it has asked the agent once more. Its own pace is seconds.
async fn next_audit(lab: &Lab) {
    let asked = || lab.consul.look(|world| world.asked.values().sum::<u64>());
    let before = asked();
    tokio::time::pause();
    tokio::time::advance(AUDIT).await;
    tokio::time::resume();
    lab.eventually(|| asked() > before, &true).await;
}

#[tokio::test]
async fn an_agent_that_may_not_show_all_services_is_told_of_none() {
    let lab = with_job(false).await;
    lab.consul.change(|world| world.filtered = true);
    let (_running, status) = start(&lab);
    let error = || status.borrow().error.clone().unwrap_or_default();
    let named = || error().contains("the token may not see all services of the agent");
    lab.eventually(named, &true).await;
    assert_eq!(ids(&lab), [""; 0]);
    lab.consul.change(|world| world.filtered = false);
    lab.eventually(|| ids(&lab).len(), &1).await;
}

#[tokio::test]
async fn a_nomad_that_lists_nothing_at_all_takes_no_registration_away() {
    let lab = with_job(false).await;
    let (_running, status) = start(&lab);
    lab.eventually(|| ids(&lab).len(), &1).await;
    lab.nomad.change(|world| world.allocations.clear());
    let held = || {
        let one = status.borrow().registrations.first().cloned();
        one.map(|one| one.state)
    };
    lab.eventually(held, &Some("held".to_owned())).await;
    assert_eq!(ids(&lab).len(), 1);
}
