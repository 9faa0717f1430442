//! Good days: what Nomad and Consul say is what the table has.

use ipvs::{Connections, ServiceId};
use ipvs_syncer::source::driver::Hint;
use serde_json::json;

use super::harness::{Lab, address, allocation, instance, job, running, stranger};

#[tokio::test]
async fn instances_come_change_their_health_and_go() {
    let lab = Lab::with(&[0]).await;
    let daemon = lab.daemon();
    lab.expect(&["198.18.0.11:20000 1"]).await;
    lab.nomad.change(|world| world.allocations.push(running(1)));
    lab.consul.change(|world| {
        world
            .services
            .get_mut("web")
            .unwrap()
            .push(instance(1, "critical"));
    });
    lab.consul
        .change(|world| world.services.get_mut("web").unwrap()[1] = instance(1, "passing"));
    lab.expect(&["198.18.0.11:20000 1", "198.18.0.11:20001 1"])
        .await;
    lab.consul
        .change(|world| world.services.get_mut("web").unwrap()[1] = instance(1, "critical"));
    lab.expect(&["198.18.0.11:20000 1", "198.18.0.11:20001 0"])
        .await;
    lab.nomad
        .change(|world| world.allocations[1] = allocation(1, "complete", "stop", "dead"));
    lab.expect(&["198.18.0.11:20000 1"]).await;
    let status = daemon.status().await;
    assert!(
        status.ready && !status.stale && status.errors.is_empty(),
        "{status:?}"
    );
    assert_eq!(lab.director.inside().snat.as_ref().unwrap().len(), 1);
}

#[tokio::test]
async fn a_stopping_allocation_drains_until_it_is_idle() {
    let lab = Lab::with(&[0, 1]).await;
    let _daemon = lab.daemon();
    lab.expect(&["198.18.0.11:20000 1", "198.18.0.11:20001 1"])
        .await;
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
    lab.consul
        .change(|world| drop(world.services.get_mut("web").unwrap().pop()));
    lab.expect(&["198.18.0.11:20000 1", "198.18.0.11:20001 0"])
        .await;
    lab.stays(&["198.18.0.11:20000 1", "198.18.0.11:20001 0"])
        .await;
    lab.director.inside().kernel.connections.clear();
    lab.expect(&["198.18.0.11:20000 1"]).await;
}

#[tokio::test]
async fn the_last_one_serves_until_its_successor_does() {
    let lab = Lab::with(&[0]).await;
    let _daemon = lab.daemon();
    lab.expect(&["198.18.0.11:20000 1"]).await;
    lab.nomad.change(|world| {
        world.allocations = vec![
            allocation(0, "running", "stop", "running"),
            allocation(1, "pending", "run", "pending"),
        ];
    });
    lab.consul
        .change(|world| world.services.get_mut("web").unwrap().clear());
    lab.stays(&["198.18.0.11:20000 1"]).await;
    lab.nomad.change(|world| world.allocations[1] = running(1));
    lab.consul.change(|world| {
        world
            .services
            .get_mut("web")
            .unwrap()
            .push(instance(1, "passing"));
    });
    lab.expect(&["198.18.0.11:20001 1"]).await;
}

#[tokio::test]
async fn a_crashed_task_beside_a_live_sidecar_takes_nothing_new() {
    let lab = Lab::with(&[0, 1]).await;
    lab.nomad.change(|world| {
        for n in 0..2 {
            world
                .jobs
                .insert(super::harness::ALLOCS[n].to_owned(), job(true));
        }
    });
    let _daemon = lab.daemon();
    lab.expect(&["198.18.0.11:20000 1", "198.18.0.11:20001 1"])
        .await;
    lab.nomad
        .change(|world| world.allocations[0] = allocation(0, "running", "run", "pending"));
    lab.expect(&["198.18.0.11:20000 0", "198.18.0.11:20001 1"])
        .await;
    lab.nomad.change(|world| world.allocations[0] = running(0));
    lab.expect(&["198.18.0.11:20000 1", "198.18.0.11:20001 1"])
        .await;
}

#[tokio::test]
async fn without_a_check_an_endpoint_serves_once_it_takes_a_connection() {
    let lab = Lab::with(&[]).await;
    let reserved = tokio::net::TcpSocket::new_v4().unwrap();
    reserved.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let late = reserved.local_addr().unwrap();
    let mut unchecked = stranger(0);
    unchecked["Service"]["Address"] = json!("127.0.0.1");
    unchecked["Service"]["Port"] = json!(late.port());
    unchecked["Checks"].as_array_mut().unwrap().pop();
    lab.consul
        .change(|world| world.services.get_mut("web").unwrap().push(unchecked));
    let daemon = lab.daemon();
    daemon
        .becomes("warming", |status| {
            let mut reals = status.services.iter().flat_map(|it| &it.real_servers);
            reals.next().is_some_and(|real| real.state == "warming")
        })
        .await;
    assert!(lab.director.rows().is_empty());
    let _listener = reserved.listen(16).unwrap();
    lab.expect(&[&format!("{late} 1")]).await;
}

#[tokio::test]
async fn tags_give_a_vip_and_bad_tags_are_told_while_the_rest_goes_on() {
    let lab = Lab::with(&[0]).await;
    let mut tagged = stranger(1);
    tagged["Service"]["Tags"] = json!(["ipvs.vip=198.18.0.30:80", "ipvs.scheduler=wlc"]);
    let mut outside = stranger(2);
    outside["Service"]["Tags"] = json!(["ipvs.vip=192.0.2.1:80"]);
    let mut wrong = stranger(3);
    wrong["Service"]["Tags"] = json!(["ipvs.vip=198.18.0.31:80", "ipvs.scheduler=R R"]);
    lab.consul.change(|world| {
        for (name, instance) in [
            ("tagged", tagged.clone()),
            ("outside", outside),
            ("wrong", wrong),
        ] {
            world.services.insert(name.into(), vec![instance]);
        }
    });
    let daemon = lab.daemon();
    let both = [
        "tcp://198.18.0.29:80 -> 198.18.0.11:20000 1",
        "tcp://198.18.0.30:80 -> 198.18.0.11:20001 1",
    ];
    lab.eventually(|| lab.director.rows(), &both.map(String::from).to_vec())
        .await;
    let rejected = daemon.status().await.rejected;
    let reasons: Vec<String> = rejected
        .into_iter()
        .map(|one| format!("{}: {}", one.service, one.reason))
        .collect();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(
        reasons[0].starts_with("outside: tcp://192.0.2.1:80 is outside"),
        "{reasons:?}"
    );
    assert!(
        reasons[1].starts_with("wrong: tag ipvs.scheduler=R R:"),
        "{reasons:?}"
    );
    // A tag that goes bad later does not take down what serves.
    tagged["Service"]["Tags"] = json!(["ipvs.vip=198.18.0.30:80", "ipvs.scheduler=R R"]);
    lab.consul
        .change(|world| drop(world.services.insert("tagged".into(), vec![tagged])));
    daemon
        .becomes("rejecting three", |status| status.rejected.len() == 3)
        .await;
    assert_eq!(lab.director.rows(), both);
}

#[tokio::test]
async fn a_driver_s_word_is_faster_than_nomad_and_is_taken_back_by_a_new_start() {
    let lab = Lab::with(&[0, 1]).await;
    let _daemon = lab.daemon();
    lab.expect(&["198.18.0.11:20000 1", "198.18.0.11:20001 1"])
        .await;
    let alloc = super::harness::ALLOCS[1].parse().unwrap();
    lab.tell(alloc, Hint::Exited);
    lab.expect(&["198.18.0.11:20000 1"]).await;
    lab.tell(alloc, Hint::Running);
    lab.expect(&["198.18.0.11:20000 1", "198.18.0.11:20001 1"])
        .await;
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
    lab.tell(alloc, Hint::Withdrawn);
    lab.expect(&["198.18.0.11:20000 1", "198.18.0.11:20001 0"])
        .await;
}
