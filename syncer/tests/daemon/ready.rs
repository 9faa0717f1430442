//! What an operator may rely on: ready with what the sources say now, and else not, with the reasons.

use std::time::Duration;

use serde_json::json;
use syncer_core::reading::Counts;

use super::fake::Fault;
use super::harness::{Lab, stranger};

const BOTH: [&str; 2] = ["198.18.0.11:20000 1", "198.18.0.11:20001 1"];

#[tokio::test]
async fn a_director_whose_sources_are_gone_is_unwell_at_once_not_ready_soon_and_ready_again_when_they_are_back()
 {
    let lab = Lab::with(&[0, 1]).await;
    let daemon = lab.daemon();
    lab.expect(&BOTH).await;
    let health = || {
        (
            daemon.admin.health().is_ready(),
            daemon.admin.health().is_well(),
        )
    };
    lab.eventually(health, &(true, true)).await;
    let failing = |fault| {
        for fake in [&lab.consul, &lab.nomad] {
            fake.change(|world| world.fault = fault);
        }
    };
    failing(Fault::Status500);
    lab.eventually(health, &(true, false)).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    lab.eventually(health, &(false, false)).await;
    let reasons = daemon.admin.health().unready;
    assert!(
        reasons
            .iter()
            .any(|why| why.starts_with("consul could not be read for 1")),
        "{reasons:?}"
    );
    assert!(
        reasons
            .iter()
            .any(|why| why.starts_with("nomad could not be read for 1")),
        "{reasons:?}"
    );
    lab.expect(&BOTH).await;
    failing(Fault::None);
    lab.eventually(health, &(true, true)).await;
}

#[tokio::test]
async fn a_director_that_has_not_read_all_services_that_it_follows_is_not_ready_and_says_how_many()
{
    let lab = Lab::with(&[0, 1]).await;
    let mut tagged = stranger(3);
    tagged["Service"]["Tags"] = json!(["ipvs.vip=198.18.0.30:80"]);
    let daemon = lab.daemon();
    lab.expect(&BOTH).await;
    daemon.end().await;
    lab.consul.change(|world| {
        world.unreadable.insert("secret".into());
        world.services.insert("secret".into(), vec![tagged]);
    });
    let daemon = lab.daemon();
    let unread = || daemon.admin.status(&Counts::new()).services_unread;
    lab.eventually(unread, &1).await;
    let health = daemon.admin.health();
    assert!(!health.is_ready(), "{health:?}");
    lab.consul.change(|world| world.unreadable.clear());
    lab.eventually(|| daemon.admin.health().is_ready(), &true)
        .await;
    assert_eq!(unread(), 0);
}
