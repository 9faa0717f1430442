//! What Nomad and Consul answer on odd days: items that can't be used, thousands of services, and the past.

use std::time::Duration;

use serde_json::{Value, json};

use super::fake::{Fault, World};
use super::harness::{ALLOCS, Daemon, Lab, allocation, instance, running, stranger};

const BOTH: [&str; 2] = ["198.18.0.11:20000 1", "198.18.0.11:20001 1"];

async fn rejected(daemon: &Daemon) -> Vec<String> {
    let rejected = daemon.status().await.rejected;
    rejected
        .into_iter()
        .map(|one| format!("{}: {}", one.service, one.reason))
        .collect()
}

#[tokio::test]
async fn an_instance_without_a_port_is_named_and_its_neighbours_are_followed() {
    let lab = Lab::with(&[]).await;
    let mut portless = stranger(2);
    portless["Service"].as_object_mut().unwrap().remove("Port");
    lab.consul.change(|world| {
        let web = vec![stranger(0), portless, stranger(1), Value::Null];
        world.services.insert("web".into(), web);
    });
    let daemon = lab.daemon();
    lab.expect(&BOTH).await;
    assert_eq!(
        rejected(&daemon).await,
        [
            "web: by-hand-2: it has no port",
            "web: number 4 of the answer: it is not described"
        ]
    );
    let web = |world: &mut World, change: &dyn Fn(&mut Vec<Value>)| {
        change(world.services.get_mut("web").unwrap());
    };
    lab.consul.change(|world| {
        web(world, &|web| {
            web[2]["Checks"][1]["Status"] = json!("critical");
        });
    });
    lab.expect(&["198.18.0.11:20000 1", "198.18.0.11:20001 0"])
        .await;
    lab.consul
        .change(|world| web(world, &|web| drop(web.remove(2))));
    lab.expect(&["198.18.0.11:20000 1"]).await;
}

#[tokio::test]
async fn an_odd_allocation_is_named_and_its_neighbours_are_followed() {
    let lab = Lab::with(&[0, 1]).await;
    let mut odd = running(2);
    odd["AllocatedResources"] = Value::Null;
    odd["TaskStates"] = json!({ "www": 7 });
    lab.nomad.change(|world| {
        world.allocations.extend([
            json!(7),
            json!({ "ID": null, "JobID": "odd" }),
            odd,
            running(0),
        ]);
    });
    let daemon = lab.daemon();
    lab.expect(&BOTH).await;
    lab.nomad
        .change(|world| world.allocations[1] = allocation(1, "complete", "stop", "dead"));
    lab.expect(&["198.18.0.11:20000 1"]).await;
    let rejected = rejected(&daemon).await;
    for expected in [
        "Nomad: number 3 of Nomad's allocations: it is not described".to_owned(),
        "Nomad: an allocation of job \"odd\": its id is not an allocation's id".to_owned(),
        format!(
            "Nomad: task www of allocation {}: its state can't be read; it is taken for running",
            ALLOCS[2]
        ),
        format!(
            "Nomad: allocation {}: its id is there twice; the first one holds",
            ALLOCS[0]
        ),
    ] {
        assert!(rejected.contains(&expected), "{expected}: {rejected:?}");
    }
}

#[tokio::test]
async fn while_a_job_cannot_be_read_the_rest_is_published_and_nomad_is_not_flooded() {
    let lab = Lab::with(&[0, 1]).await;
    lab.nomad.change(|world| {
        world.jobless.insert(ALLOCS[0].to_owned());
    });
    let daemon = lab.daemon();
    lab.expect(&BOTH).await;
    let lists = || {
        lab.nomad.look(|world| {
            world
                .asked
                .get("/v1/allocations")
                .copied()
                .unwrap_or_default()
        })
    };
    let jobs = || {
        let path = format!("/v1/allocation/{}", ALLOCS[0]);
        lab.nomad
            .look(|world| world.asked.get(&path).copied().unwrap_or_default())
    };
    while jobs() < 4 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(lists() <= 2, "one list is enough: {}", lists());
    let rejected = rejected(&daemon).await;
    assert!(
        rejected[0].starts_with("Nomad: job web of namespace default: "),
        "{rejected:?}"
    );
    lab.nomad
        .change(|world| world.allocations[1] = allocation(1, "complete", "stop", "dead"));
    lab.expect(&["198.18.0.11:20000 1"]).await;
    assert!(lists() <= 3, "{}", lists());
}

/// An instance of `many-N`, which asks for a VIP of its own.
fn tagged(n: usize, status: &str) -> Value {
    let id = format!("many-{n}");
    json!({
        "Node": { "Node": "node1", "Address": "198.18.0.11" },
        "Service": { "ID": id, "Port": 10_000 + n, "Tags": [format!("ipvs.vip=198.18.0.30:{}", 1_000 + n)] },
        "Checks": [{ "CheckID": "serfHealth", "Status": "passing", "ServiceID": "" },
                   { "CheckID": format!("c-{n}"), "Status": status, "ServiceID": id }],
    })
}

fn of_many(n: usize, weight: u32) -> String {
    format!(
        "tcp://198.18.0.30:{} -> 198.18.0.11:{} {weight}",
        1_000 + n,
        10_000 + n
    )
}

#[tokio::test]
async fn many_services_are_followed_over_few_connections() {
    const MANY: usize = 300;
    let lab = Lab::with(&[]).await;
    lab.consul.change(|world| {
        for n in 0..MANY {
            world
                .services
                .insert(format!("many-{n}"), vec![tagged(n, "passing")]);
        }
    });
    let _daemon = lab.daemon();
    let serving = || {
        let status = lab.director.rows();
        status.iter().filter(|real| real.ends_with(" 1")).count()
    };
    lab.eventually(serving, &MANY).await;
    let has = |real: String| lab.director.rows().contains(&real);
    let set = |n: usize, entries: Vec<Value>| {
        lab.consul
            .change(|world| drop(world.services.insert(format!("many-{n}"), entries)));
    };
    // A check, which the lists of checks show.
    set(250, vec![tagged(250, "critical")]);
    lab.eventually(|| has(of_many(250, 0)), &true).await;
    set(250, vec![tagged(250, "warning")]);
    lab.eventually(|| has(of_many(250, 1)), &true).await;
    set(250, vec![tagged(250, "passing")]);
    // A weight, which no list shows.
    let mut heavy = tagged(251, "passing");
    heavy["Service"]["Weights"] = json!({ "Passing": 7, "Warning": 1 });
    set(251, vec![heavy]);
    lab.eventually(|| has(of_many(251, 7)), &true).await;
    // One instance of two that leaves, and the last one, whose tags leave the list.
    let mut second = tagged(252, "passing");
    second["Service"]["ID"] = json!("second");
    second["Service"]["Port"] = json!(9_999);
    second["Checks"][1]["ServiceID"] = json!("second");
    set(252, vec![tagged(252, "passing"), second]);
    let second = || has("tcp://198.18.0.30:1252 -> 198.18.0.11:9999 1".to_owned());
    lab.eventually(second, &true).await;
    set(252, vec![tagged(252, "passing")]);
    lab.eventually(second, &false).await;
    lab.consul
        .change(|world| drop(world.services.remove("many-253")));
    lab.eventually(|| has(of_many(253, 1)), &false).await;
    // A check of the node is about all that are on it.
    lab.consul.change(|world| {
        for entries in world.services.values_mut() {
            for entry in entries {
                entry["Checks"][0]["Status"] = json!("critical");
            }
        }
    });
    lab.eventually(serving, &0).await;
    let connections = lab.consul.most_connections();
    assert!(connections <= 16, "{connections} connections at once");
}

#[tokio::test]
async fn services_that_no_path_can_name_are_refused_by_name_and_not_asked_for() {
    let lab = Lab::with(&[0]).await;
    lab.consul.change(|world| {
        for (n, name) in [".", "..", "a\nb", "a/../b"].into_iter().enumerate() {
            world
                .services
                .insert(name.into(), vec![tagged(n, "passing")]);
        }
        world
            .services
            .insert("odd ü/%".into(), vec![tagged(9, "passing")]);
    });
    let daemon = lab.daemon();
    let both = [
        "tcp://198.18.0.29:80 -> 198.18.0.11:20000 1".to_owned(),
        of_many(9, 1),
    ];
    lab.eventually(|| lab.director.rows(), &both.to_vec()).await;
    let status = daemon.status().await;
    assert!(
        status.ready && daemon.consul_error().is_none(),
        "{status:?}"
    );
    let names: Vec<String> = status.rejected.into_iter().map(|one| one.service).collect();
    assert_eq!(names, [".", "..", "a\nb", "a/../b"]);
    let asked = lab.consul.look(|world| world.asked.clone());
    assert!(
        asked.keys().all(|path| !path.contains("%0A")
            && path != "/v1/health/service/"
            && path != "/v1/health/"),
        "{asked:?}"
    );
}

#[tokio::test]
async fn a_server_that_replays_its_log_is_not_believed_in_its_past() {
    let lab = Lab::with(&[]).await;
    lab.consul
        .change(|world| drop(world.services.insert("web".into(), vec![stranger(0)])));
    let _daemon = lab.daemon();
    lab.expect(&["198.18.0.11:20000 1"]).await;
    // Once there was another one, and before that none.
    for (index, past) in [
        (2, vec![]),
        (3, vec![]),
        (4, vec![stranger(1)]),
        (5, vec![stranger(1)]),
    ] {
        lab.consul.change(|world| {
            world.fault = Fault::Replaying;
            world.past = ([("web".to_owned(), past)].into(), index);
        });
        for _ in 0..20 {
            assert_eq!(
                lab.director.rows(),
                ["tcp://198.18.0.29:80 -> 198.18.0.11:20000 1"],
                "index {index}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let before = lab.consul.look(|world| world.asked.values().sum::<u64>());
    assert!(before > 4, "it was asked meanwhile");
    lab.consul.change(|world| {
        world.fault = Fault::None;
        world
            .services
            .insert("web".into(), vec![stranger(0), stranger(1)]);
    });
    lab.expect(&BOTH).await;
}

#[tokio::test]
async fn a_streaming_agent_that_knows_of_no_leader_is_followed_without_a_second_question() {
    let lab = Lab::with(&[0, 1]).await;
    let daemon = lab.daemon();
    lab.expect(&BOTH).await;
    let reads = || {
        let path = "/v1/health/service/web";
        lab.consul.look(|world| world.asked[path])
    };
    for status in ["critical", "passing", "critical", "passing"] {
        let before = reads();
        lab.consul
            .change(|world| world.services.get_mut("web").unwrap()[1] = instance(1, status));
        let weight = u8::from(status == "passing");
        lab.expect(&[
            "198.18.0.11:20000 1",
            &format!("198.18.0.11:20001 {weight}"),
        ])
        .await;
        assert_eq!(daemon.consul_error(), None);
        assert!(reads() <= before + 1, "one answer, and the next question");
    }
}

#[tokio::test]
async fn while_the_list_of_services_fails_a_confirming_read_does_not_wait() {
    let lab = Lab::with(&[]).await;
    lab.consul.change(|world| {
        let web = vec![stranger(0), stranger(1)];
        world.services.insert("web".into(), web);
    });
    let daemon = lab.daemon();
    lab.expect(&BOTH).await;
    lab.consul.change(|world| {
        world.listless = true;
        // The question that is being answered gets its answer; the next one fails.
        world.services.insert("other".into(), vec![stranger(2)]);
    });
    while daemon.consul_error().is_none() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // By now the list waits for seconds from one try to the next.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let reads = || {
        lab.consul
            .look(|world| world.asked["/v1/health/service/web"])
    };
    let before = reads();
    lab.consul
        .change(|world| world.services.get_mut("web").unwrap().clear());
    // The answer that tells of the loss, the next question, and the confirming read.
    let started = tokio::time::Instant::now();
    while reads() < before + 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(
        started.elapsed() < Duration::from_millis(500),
        "{:?}",
        started.elapsed()
    );
}
