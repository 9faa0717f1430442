//! The reaper beside a driver's tasks, other drivers' and the user's own containers.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use docker_ipvs::announce::Announcer;
use docker_ipvs::config::{PluginConfig, Reap};
use docker_ipvs::engine::{ContainerEngine, ContainerId, EngineError};
use docker_ipvs::fingerprint::CurrentEngine;
use docker_ipvs::name::DriverName;
use docker_ipvs::reap;
use docker_ipvs::task::{Parts, Task, Tasks};
use nomad_driver_sdk::TaskConfig;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::suite::{shell, unique};

/// Shorter than an agent's configuration may say.
const GRACE: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(20);

pub(crate) async fn only_a_drivers_own_containers_without_a_task_are_removed(
    engine: impl ContainerEngine,
) {
    let engine = Arc::new(engine);
    let name = unique();
    let of = |driver: &str, node: &str| {
        HashMap::from([
            (DriverName::owner_label(), driver.to_owned()),
            (DriverName::node_label(), node.to_owned()),
        ])
    };
    let task_container = run(engine.as_ref(), of(&name, "n1")).await;
    let bystanders = [
        run(engine.as_ref(), HashMap::new()).await,
        run(engine.as_ref(), of(&name, "n2")).await,
        run(engine.as_ref(), of(&unique(), "n1")).await,
    ];
    let tasks = Arc::new(Tasks::default());
    tasks.insert(watch(&engine, &task_container).await);
    let config = PluginConfig {
        reap: Reap {
            enabled: true,
            period: Duration::from_millis(100),
            grace: GRACE,
            dry_run: false,
        },
        ..PluginConfig::default()
    };
    let current: CurrentEngine<_> = {
        let (engine, config) = (Arc::clone(&engine), Arc::new(config));
        Arc::new(move || Ok((Arc::clone(&engine), Arc::clone(&config))))
    };
    let driver = DriverName::from_path(Path::new(&name)).unwrap();
    let reaper = tokio::spawn(reap::run(driver, current, Arc::clone(&tasks)));

    // When the second is gone, a whole scan has passed over all the others too.
    for _ in 0..2 {
        let orphan = run(engine.as_ref(), of(&name, "n1")).await;
        wait_removal(engine.as_ref(), &orphan).await;
    }
    reaper.abort();
    for container in bystanders.iter().chain([&task_container]) {
        let alive = engine.inspect(&container.0).await.unwrap().is_alive();
        assert!(
            alive,
            "{container} of {bystanders:?}, task {task_container}"
        );
        engine.remove(container).await.unwrap();
    }
}

async fn run(engine: &impl ContainerEngine, labels: HashMap<String, String>) -> ContainerId {
    let mut body = shell("sleep 600");
    body.labels = Some(labels);
    let id = engine.create(&unique(), body).await.unwrap();
    engine.start(&id).await.unwrap();
    id
}

async fn watch<E: ContainerEngine>(engine: &Arc<E>, id: &ContainerId) -> Task {
    let container = engine.inspect(&id.0).await.unwrap();
    let config = TaskConfig {
        id: "t1".to_owned(),
        node_id: "n1".to_owned(),
        ..TaskConfig::default()
    };
    let parts = Parts {
        config,
        network: None,
        announcer: Announcer::default(),
        drain: Duration::ZERO,
        pump: None,
        cancel: CancellationToken::new(),
    };
    Task::watch(Arc::clone(engine), &container, parts)
}

async fn wait_removal(engine: &impl ContainerEngine, id: &ContainerId) {
    let look = async {
        while !matches!(engine.inspect(&id.0).await, Err(EngineError::NotFound(_))) {
            sleep(Duration::from_millis(50)).await;
        }
    };
    let outcome = timeout(WAIT_MAX, look).await;
    assert!(outcome.is_ok(), "{id} is still there");
}
