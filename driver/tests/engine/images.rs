//! Images through the whole driver: a pull that is given up, that takes long, and that is refused.

use std::time::Duration;

use docker_ipvs::engine::EngineError;
use futures_util::StreamExt;
use nomad_driver_sdk::{TaskConfig, TaskDriver};
use tokio::time::{sleep, timeout};

use crate::driver::{WAIT_MAX, driver, options, task};
use crate::fake::{FakeEngine, Pull};

const LONG: Pull = Pull::Takes(Duration::from_secs(280));

fn elsewhere(id: &str) -> TaskConfig {
    TaskConfig {
        msgpack_driver_config: options(&[
            ("image", "far/away:1".into()),
            ("command", "sh".into()),
            (
                "args",
                rmpv::Value::Array(vec!["-c".into(), "sleep 600".into()]),
            ),
        ]),
        ..task(id, "")
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_stopped_while_its_image_is_fetched_starts_nothing() {
    let engine = FakeEngine::default();
    engine.set_pull(LONG);
    let driver = driver(&engine);
    let stop = async {
        sleep(Duration::from_secs(3)).await;
        driver.stop_task("t1", Duration::from_secs(5), None).await
    };
    let calls = async { tokio::join!(driver.start_task(elsewhere("t1")), stop) };
    let (start_answer, stop_answer) = timeout(WAIT_MAX, Box::pin(calls)).await.unwrap();
    stop_answer.unwrap();
    let refusal = start_answer.unwrap_err();
    assert!(refusal.to_string().contains("nothing was started") && !refusal.is_recoverable());
    assert_eq!(
        (engine.abandoned_pulls(), engine.containers().len()),
        (1, 0)
    );
    // And it may be started again.
    engine.set_pull(Pull::Takes(Duration::from_secs(1)));
    driver.start_task(elsewhere("t1")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_start_that_the_agent_has_dropped_gives_its_pull_up() {
    let engine = FakeEngine::default();
    engine.set_pull(LONG);
    let driver = driver(&engine);
    let answer = timeout(WAIT_MAX, driver.start_task(elsewhere("t1"))).await;
    assert!(answer.is_err());
    assert_eq!(
        (engine.abandoned_pulls(), engine.containers().len()),
        (1, 0)
    );
    timeout(WAIT_MAX, driver.destroy_task("t1", true))
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_stop_while_a_container_is_made_waits_for_it_and_stops_it() {
    let engine = FakeEngine::default();
    engine.set_create_delay(Duration::from_millis(300));
    let driver = driver(&engine);
    let stop = async {
        sleep(Duration::from_millis(100)).await;
        driver.stop_task("t1", Duration::from_secs(5), None).await
    };
    let calls = async { tokio::join!(driver.start_task(task("t1", "sleep 600")), stop) };
    let (start_answer, stop_answer) = timeout(WAIT_MAX, Box::pin(calls)).await.unwrap();
    start_answer.unwrap();
    stop_answer.unwrap();
    let alive = engine
        .containers()
        .iter()
        .filter(|container| container.is_alive())
        .count();
    assert_eq!((engine.containers().len(), alive), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_long_pull_is_told_how_far_it_is_and_not_often() {
    let engine = FakeEngine::default();
    engine.set_pull(LONG);
    let driver = driver(&engine);
    let later = async {
        sleep(Duration::from_secs(1)).await;
        let other = TaskConfig {
            name: "other".into(),
            ..elsewhere("t2")
        };
        driver.start_task(other).await
    };
    let (first, second) = tokio::join!(driver.start_task(elsewhere("t1")), later);
    first.unwrap();
    second.unwrap();
    let events = driver
        .task_events()
        .take_until(sleep(Duration::from_secs(1)));
    let messages: Vec<_> = events
        .map(|event| (event.task_id, event.message))
        .collect()
        .await;
    let of = |id: &str| {
        let of_task = messages.iter().filter(|(task, _)| task == id);
        of_task
            .map(|(_, message)| message.as_str())
            .collect::<Vec<_>>()
    };
    // After a quarter of a minute, and then every two.
    let words = "Image download: 0 of 1 layers are there, ";
    let of_first = of("t1");
    assert_eq!((of_first[0], of_first.len()), ("Downloading image", 4));
    let reports = &of_first[1..];
    assert!(
        reports.iter().all(|message| message.starts_with(words)),
        "{reports:?}"
    );
    assert_eq!(
        of("t2"),
        ["Waiting for another task that downloads the image"]
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_registry_refuses_for_good_is_not_tried_again_and_trouble_is() {
    let kinds: [(fn() -> EngineError, bool); 5] = [
        (
            || EngineError::NotFound("manifest for far/away:1 not found: manifest unknown".into()),
            false,
        ),
        (
            || EngineError::Refusal("unauthorized: authentication required".into()),
            false,
        ),
        (
            || EngineError::Refusal("dial tcp: lookup far: no such host".into()),
            true,
        ),
        (
            || EngineError::Refusal("toomanyrequests: you have reached your limit".into()),
            true,
        ),
        (|| EngineError::Unreachable("it is down".into()), true),
    ];
    for (error, recoverable) in kinds {
        let engine = FakeEngine::default();
        engine.set_pull(Pull::Fails(error));
        let refusal = driver(&engine)
            .start_task(elsewhere("t1"))
            .await
            .unwrap_err();
        assert_eq!(refusal.is_recoverable(), recoverable, "{refusal}");
        assert!(refusal.to_string().contains("far/away:1"), "{refusal}");
    }
}

#[tokio::test]
async fn a_name_that_no_image_can_have_is_not_asked_for() {
    let engine = FakeEngine::default();
    let mut task = task("t1", "exit 0");
    for image in ["Far/Away:1", "far away", "far/away:"] {
        task.msgpack_driver_config = options(&[("image", image.into())]);
        let refusal = driver(&engine).start_task(task.clone()).await.unwrap_err();
        assert!(
            refusal.to_string().contains(image) && !refusal.is_recoverable(),
            "{refusal}"
        );
    }
}
