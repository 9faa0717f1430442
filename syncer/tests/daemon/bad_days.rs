//! Bad days of Consul, Nomad and the kernel.

use std::time::Duration;

use ipvs::{Command, Kernel, ServiceId, errno};
use ipvs_syncer::http::{Api, Http, HttpError};

use super::fake::{Fake, Fault};
use super::harness::{Daemon, Lab, allocation, instance, running, stranger};

const BOTH: [&str; 2] = ["198.18.0.11:20000 1", "198.18.0.11:20001 1"];

async fn with_both() -> (Lab, Daemon) {
    let lab = Lab::with(&[0, 1]).await;
    let daemon = lab.daemon();
    lab.expect(&BOTH).await;
    (lab, daemon)
}

#[tokio::test]
async fn faults_of_consul_change_nothing_and_afterwards_it_is_followed_again() {
    for fault in [
        Fault::Status500,
        Fault::NoLeader,
        Fault::Stall,
        Fault::CutLine,
        Fault::TruncatedBody,
        Fault::AclFiltered,
    ] {
        println!("{fault:?}");
        let (lab, _daemon) = with_both().await;
        lab.consul.change(|world| {
            world.fault = fault;
            world.services.get_mut("web").unwrap()[1] = instance(1, "critical");
        });
        lab.stays(&BOTH).await;
        lab.consul.change(|world| world.fault = Fault::None);
        lab.expect(&["198.18.0.11:20000 1", "198.18.0.11:20001 0"])
            .await;
    }
}

#[tokio::test]
async fn faults_of_nomad_change_nothing_and_afterwards_it_is_followed_again() {
    for fault in [
        Fault::Status500,
        Fault::Stall,
        Fault::CutLine,
        Fault::TruncatedBody,
    ] {
        println!("{fault:?}");
        let (lab, _daemon) = with_both().await;
        lab.nomad.change(|world| {
            world.fault = fault;
            world.allocations[1] = allocation(1, "complete", "stop", "dead");
        });
        lab.stays(&BOTH).await;
        lab.nomad.change(|world| world.fault = Fault::None);
        lab.expect(&["198.18.0.11:20000 1"]).await;
    }
}

#[tokio::test]
async fn a_server_that_stalls_is_given_up() {
    let (lab, _daemon) = with_both().await;
    lab.consul.change(|world| world.fault = Fault::Stall);
    let http = Http::new(&Api::at(lab.consul.address.parse().unwrap()), "X-Unused").unwrap();
    let limit = Duration::from_millis(50);
    let error = http.get("/v1/catalog/services", limit).await.unwrap_err();
    assert!(matches!(error, HttpError::Stalled { .. }), "{error}");
}

#[tokio::test]
async fn an_index_that_goes_back_is_followed() {
    let (lab, _daemon) = with_both().await;
    lab.consul.change_at(
        |_| 3,
        |world| world.services.get_mut("web").unwrap()[1] = instance(1, "critical"),
    );
    lab.expect(&["198.18.0.11:20000 1", "198.18.0.11:20001 0"])
        .await;
    lab.consul
        .change(|world| world.services.get_mut("web").unwrap()[1] = instance(1, "passing"));
    lab.expect(&BOTH).await;
    lab.nomad.change_at(
        |_| 2,
        |world| world.allocations[1] = allocation(1, "failed", "run", "dead"),
    );
    lab.expect(&["198.18.0.11:20000 1"]).await;
}

#[tokio::test]
async fn a_consul_that_was_started_again_empty_is_not_believed_while_nomad_says_they_run() {
    let (lab, daemon) = with_both().await;
    lab.consul.change_at(|_| 1, |world| world.services.clear());
    lab.stays(&BOTH).await;
    let held = daemon.status().await.held.unwrap();
    assert_eq!(held.real_servers, 2);
    assert!(
        held.reason.contains("Nomad says that they run"),
        "{}",
        held.reason
    );
    lab.consul.change(|world| {
        world.services.insert(
            "web".into(),
            vec![instance(0, "passing"), instance(1, "passing")],
        );
    });
    lab.stays(&BOTH).await;
    daemon
        .becomes("let go", |status| status.held.is_none())
        .await;
    assert_eq!(lab.director.rows().len(), 2);
}

#[tokio::test]
async fn an_empty_catalogue_that_nomad_agrees_with_is_believed_at_once() {
    let (lab, _daemon) = with_both().await;
    lab.nomad.change(|world| {
        world.allocations = vec![
            allocation(0, "complete", "stop", "dead"),
            allocation(1, "complete", "stop", "dead"),
        ];
    });
    lab.consul.change(|world| world.services.clear());
    lab.expect(&[]).await;
}

#[tokio::test]
async fn of_what_nomad_does_not_know_two_reads_of_the_catalogue_some_time_apart_are_enough() {
    let lab = Lab::with(&[]).await;
    lab.consul.change(|world| {
        drop(
            world
                .services
                .insert("web".into(), vec![stranger(0), stranger(1)]),
        );
    });
    let _daemon = lab.daemon();
    lab.expect(&BOTH).await;
    lab.consul.change(|world| world.services.clear());
    lab.expect(&[]).await;
}

#[tokio::test]
async fn one_of_many_that_leaves_the_catalogue_drains_at_once() {
    let lab = Lab::with(&[0, 1, 2]).await;
    let _daemon = lab.daemon();
    lab.expect(&[
        "198.18.0.11:20000 1",
        "198.18.0.11:20001 1",
        "198.18.0.11:20002 1",
    ])
    .await;
    lab.consul
        .change(|world| drop(world.services.get_mut("web").unwrap().pop()));
    lab.expect(&BOTH).await;
}

#[tokio::test]
async fn a_kernel_that_refuses_one_step_does_the_others_and_gets_it_again() {
    let lab = Lab::with(&[0, 1]).await;
    lab.director.inside().kernel.faults = [0, errno::EINVAL, 0].into();
    let daemon = lab.daemon();
    lab.expect(&BOTH).await;
    let errors = daemon.status().await.errors;
    assert!(errors[0].what.contains("198.18.0.11:20000"), "{errors:?}");
    assert!(errors[0].what.contains("attribute invalid"), "{errors:?}");
}

#[tokio::test]
async fn what_somebody_else_did_to_ours_is_put_right_and_theirs_is_left_alone() {
    let (lab, _daemon) = with_both().await;
    let (ours, theirs): (ServiceId, ServiceId) = (
        "198.18.0.29:80".parse().unwrap(),
        "192.0.2.1:80".parse().unwrap(),
    );
    let settings = ipvs::ServiceSettings::new("lc".parse().unwrap());
    let changes = [
        Command::RemoveService(ours),
        Command::AddService(theirs, settings),
    ];
    lab.director.inside().kernel.apply(&changes).unwrap();
    lab.expect(&BOTH).await;
    assert_eq!(
        lab.director
            .inside()
            .kernel
            .table
            .get(&theirs)
            .unwrap()
            .settings,
        settings
    );
}

#[tokio::test]
async fn while_nomad_has_not_answered_nothing_new_of_nomads_is_let_in() {
    let lab = Lab::with(&[0]).await;
    lab.nomad.change(|world| world.fault = Fault::Status500);
    let daemon = lab.daemon();
    lab.stays(&[]).await;
    let status = daemon.status().await;
    assert_eq!(
        status.services[0].real_servers[0].state, "waiting",
        "{status:?}"
    );
    lab.nomad.change(|world| world.fault = Fault::None);
    lab.expect(&["198.18.0.11:20000 1"]).await;
}

#[tokio::test]
async fn servers_that_are_down_at_first_are_found_when_they_come() {
    let lab = Lab::with(&[0]).await;
    let down: &[&Fake] = &[&lab.consul, &lab.nomad];
    for fake in down {
        fake.change(|world| world.fault = Fault::TruncatedBody);
    }
    let daemon = lab.daemon();
    lab.stays(&[]).await;
    assert!(!daemon.status().await.ready);
    for fake in down {
        fake.change(|world| world.fault = Fault::None);
    }
    lab.expect(&["198.18.0.11:20000 1"]).await;
    lab.nomad.change(|world| world.allocations.push(running(1)));
}

#[tokio::test]
async fn a_new_service_that_may_not_be_read_does_not_keep_the_others_from_being_followed() {
    let (lab, daemon) = with_both().await;
    let mut tagged = stranger(3);
    tagged["Service"]["Tags"] = serde_json::json!(["ipvs.vip=198.18.0.30:80"]);
    lab.consul.change(|world| {
        world.unreadable.insert("secret".into());
        world.services.insert("secret".into(), vec![tagged]);
    });
    lab.eventually(|| daemon.consul_error().is_some(), &true)
        .await;
    lab.consul
        .change(|world| world.services.get_mut("web").unwrap()[1] = instance(1, "critical"));
    lab.expect(&["198.18.0.11:20000 1", "198.18.0.11:20001 0"])
        .await;
    let error = daemon.consul_error().unwrap();
    assert!(error.contains("secret") && error.contains("403"), "{error}");
    lab.consul.change(|world| world.unreadable.clear());
    lab.eventually(|| daemon.consul_error(), &None).await;
}

#[tokio::test]
async fn what_may_not_be_read_after_a_restart_stays_as_it_is_and_the_rest_is_followed() {
    let (lab, daemon) = with_both().await;
    let mut tagged = stranger(3);
    tagged["Service"]["Tags"] = serde_json::json!(["ipvs.vip=198.18.0.30:80"]);
    lab.consul
        .change(|world| drop(world.services.insert("secret".into(), vec![tagged])));
    let three = || -> Vec<String> {
        let web = BOTH.map(|real| format!("tcp://198.18.0.29:80 -> {real}"));
        let secret = "tcp://198.18.0.30:80 -> 198.18.0.11:20003 1".to_owned();
        web.into_iter().chain([secret]).collect()
    };
    lab.eventually(|| lab.director.rows(), &three()).await;
    daemon.end().await;
    lab.consul.change(|world| {
        world.unreadable.insert("secret".into());
        world.services.get_mut("web").unwrap()[1] = instance(1, "critical");
    });
    let daemon = lab.daemon();
    daemon
        .becomes("fresh", |status| {
            if status.stale {
                assert_eq!(lab.director.rows(), three());
            }
            !status.stale
        })
        .await;
    let mut quiesced = three();
    quiesced[1] = "tcp://198.18.0.29:80 -> 198.18.0.11:20001 0".to_owned();
    lab.eventually(|| lab.director.rows(), &quiesced).await;
    daemon.is_audited_twice().await;
    assert_eq!(lab.director.rows(), quiesced);
}

#[tokio::test]
async fn a_scheduler_that_the_kernel_has_not_is_told_once_and_costs_no_reading_of_the_kernel() {
    let (lab, daemon) = with_both().await;
    let mut tagged = stranger(3);
    tagged["Service"]["Tags"] =
        serde_json::json!(["ipvs.vip=198.18.0.30:80", "ipvs.scheduler=xyz"]);
    lab.consul
        .change(|world| drop(world.services.insert("odd".into(), vec![tagged])));
    daemon
        .becomes("in error", |status| !status.errors.is_empty())
        .await;
    let tries = || {
        let inside = lab.director.inside();
        let odd = |step: &&syncer_core::plan::Step| step.to_string().contains("198.18.0.30:80");
        inside.steps.iter().filter(odd).count()
    };
    let before = tries();
    for status in ["critical", "passing", "critical", "passing"] {
        lab.consul
            .change(|world| world.services.get_mut("web").unwrap()[1] = instance(1, status));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    lab.expect(&BOTH).await;
    assert_eq!(tries(), before, "not at every pass");
    let status = daemon.status().await;
    assert_eq!(status.errors.len(), 1, "{:?}", status.errors);
    assert!(
        status.errors[0].what.contains("no such scheduler"),
        "{:?}",
        status.errors
    );
    assert!(status.ready);
    lab.eventually(|| tries() > before, &true).await;
    assert_eq!(
        daemon.status().await.errors.len(),
        1,
        "the same error is one"
    );
    assert_eq!(
        lab.director.rows().len(),
        2,
        "no real servers without a service"
    );
}

#[tokio::test]
async fn a_consul_that_lost_its_data_empties_nothing() {
    // Either its history starts anew, or it answers `{}` under an index that goes on.
    for blank in [false, true] {
        let lab = Lab::with(&[]).await;
        let web = || vec![stranger(0), stranger(1)];
        lab.consul
            .change(|world| drop(world.services.insert("web".into(), web())));
        let daemon = lab.daemon();
        lab.expect(&BOTH).await;
        lab.consul.change_at(
            |index| if blank { index + 1 } else { 1 },
            |world| {
                world.blank = blank;
                world.services.clear();
            },
        );
        // They would have been enough.
        while daemon.confirmations() < 2 {
            assert_eq!(lab.director.rows().len(), 2, "blank: {blank}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        lab.stays(&BOTH).await;
        let held = daemon.status().await.held.unwrap();
        assert!(held.reason.contains("lost its data"), "{}", held.reason);
        lab.consul.change(|world| {
            world.blank = false;
            world.services.insert("web".into(), web());
        });
        while daemon.status().await.held.is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        lab.stays(&BOTH).await;
    }
}
