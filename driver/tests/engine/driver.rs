//! The whole driver on the fake engine: what the agent sees of a task's life.

use std::path::PathBuf;
use std::time::Duration;

use docker_ipvs::driver::DockerDriver;
use docker_ipvs::engine::Address;
use docker_ipvs::name::DriverName;
use docker_ipvs::stage::Stages;
use nomad_driver_sdk::value::TaskState;
use nomad_driver_sdk::{TaskConfig, TaskDriver};
use nomad_ipvs_proto::driver::Resources;
use rmpv::Value;
use tokio::time::{sleep, timeout};

use crate::fake::{FakeEngine, StartFault};

pub(crate) const WAIT_MAX: Duration = Duration::from_secs(10);

pub(crate) fn driver(engine: &FakeEngine) -> DockerDriver<FakeEngine> {
    let engine = engine.clone();
    let name = DriverName::from_path(std::path::Path::new("docker")).unwrap();
    let driver = DockerDriver::new(name, move |_: &Address| Ok(engine.clone()));
    driver.set_config(&[], None).unwrap();
    driver
}

/// The options as the agent encodes them.
pub(crate) fn options(pairs: &[(&str, Value)]) -> Vec<u8> {
    let map = pairs
        .iter()
        .map(|(key, value)| ((*key).into(), value.clone()))
        .collect();
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, &Value::Map(map)).unwrap();
    bytes
}

pub(crate) fn task(id: &str, script: &str) -> TaskConfig {
    let args = Value::Array(vec!["-c".into(), script.into()]);
    TaskConfig {
        id: id.into(),
        name: "web".into(),
        alloc_id: "a1".into(),
        alloc_dir: alloc_dir("web").display().to_string(),
        stdout_path: "/dev/null".into(),
        stderr_path: "/dev/null".into(),
        resources: Some(Resources::default()),
        msgpack_driver_config: options(&[
            ("image", "busybox:1".into()),
            ("command", "sh".into()),
            ("args", args),
        ]),
        ..TaskConfig::default()
    }
}

/// A new allocation's directory with what the agent makes in it for `task`, and for a second one.
pub(crate) fn alloc_dir(task: &str) -> PathBuf {
    // Below the target directory, which whoever ran the tests removes in the end.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .unwrap()
        .keep();
    for folder_name in ["alloc/logs", "alloc/data"] {
        std::fs::create_dir_all(folder.join(folder_name)).unwrap();
    }
    for task in [task, "other"] {
        for folder_name in ["local", "secrets"] {
            std::fs::create_dir_all(folder.join(task).join(folder_name)).unwrap();
        }
    }
    folder
}

#[tokio::test]
async fn a_task_starts_ends_and_is_destroyed() {
    let engine = FakeEngine::default();
    let driver = driver(&engine);
    driver
        .start_task(task("t1", "sleep 0.1; exit 3"))
        .await
        .unwrap();
    assert_eq!(
        driver.inspect_task("t1").await.unwrap().state,
        TaskState::Running
    );
    assert!(driver.destroy_task("t1", false).await.is_err());
    let exit = timeout(WAIT_MAX, driver.wait_task("t1"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (exit.code, exit.error.as_str()),
        (3, "Docker container exited with non-zero exit code: 3")
    );
    assert_eq!(
        timeout(WAIT_MAX, driver.wait_task("t1"))
            .await
            .unwrap()
            .unwrap(),
        exit
    );
    driver.destroy_task("t1", true).await.unwrap();
    assert!(engine.containers().is_empty() && driver.inspect_task("t1").await.is_err());
}

#[tokio::test]
async fn a_restart_finds_the_name_free_and_a_double_start_is_refused() {
    let engine = FakeEngine::default();
    let driver = driver(&engine);
    driver.start_task(task("t1", "sleep 600")).await.unwrap();
    assert!(driver.start_task(task("t1", "sleep 600")).await.is_err());
    // What a crash left behind under the same name makes room.
    driver.start_task(task("t2", "sleep 600")).await.unwrap();
    assert_eq!(engine.containers().len(), 1);
}

#[tokio::test]
async fn a_stop_returns_after_the_exit_and_an_unknown_task_is_fine() {
    let engine = FakeEngine::default();
    let driver = driver(&engine);
    driver.start_task(task("t1", "sleep 600")).await.unwrap();
    timeout(
        WAIT_MAX,
        driver.stop_task("t1", Duration::from_secs(1), None),
    )
    .await
    .unwrap()
    .unwrap();
    assert_eq!(
        driver.inspect_task("t1").await.unwrap().state,
        TaskState::Exited
    );
    driver
        .stop_task("t1", Duration::from_secs(1), Some("SIGTERM"))
        .await
        .unwrap();
    driver
        .stop_task("nobody", Duration::from_secs(1), None)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_new_process_takes_running_and_ended_tasks_over_and_refuses_vanished_ones() {
    let engine = FakeEngine::default();
    let (before, after) = (driver(&engine), driver(&engine));
    let handle = before
        .start_task(task("t1", "sleep 600"))
        .await
        .unwrap()
        .handle;
    for _ in 0..2 {
        after.recover_task(handle.clone()).await.unwrap();
    }
    assert_eq!(
        after.inspect_task("t1").await.unwrap().state,
        TaskState::Running
    );
    after
        .stop_task("t1", Duration::from_secs(1), None)
        .await
        .unwrap();

    let third = driver(&engine);
    third.recover_task(handle.clone()).await.unwrap();
    assert_eq!(
        timeout(WAIT_MAX, third.wait_task("t1"))
            .await
            .unwrap()
            .unwrap()
            .code,
        137
    );

    third.destroy_task("t1", true).await.unwrap();
    let refusal = driver(&engine)
        .recover_task(handle)
        .await
        .unwrap_err()
        .to_string();
    assert!(refusal.contains("failed to inspect container"), "{refusal}");
}

#[tokio::test]
async fn an_engine_that_goes_away_for_a_while_is_not_an_exit() {
    let engine = FakeEngine::default();
    let driver = driver(&engine);
    driver
        .start_task(task("t1", "sleep 0.5; exit 4"))
        .await
        .unwrap();
    engine.set_down(true);
    let early = timeout(Duration::from_secs(1), driver.wait_task("t1")).await;
    assert!(early.is_err(), "{early:?}");
    engine.set_down(false);
    assert_eq!(
        timeout(WAIT_MAX, driver.wait_task("t1"))
            .await
            .unwrap()
            .unwrap()
            .code,
        4
    );
}

#[tokio::test]
async fn a_start_waits_for_an_engine_that_is_away_for_a_moment_and_runs_no_task_twice() {
    for faults in [
        &[StartFault::NotDone, StartFault::NotDone][..],
        &[StartFault::Unanswered],
        &[StartFault::Unanswered, StartFault::NotDone],
    ] {
        let engine = FakeEngine::default();
        let driver = driver(&engine);
        engine.set_start_faults(faults);
        driver.start_task(task("t1", "exit 4")).await.unwrap();
        let exit = timeout(WAIT_MAX, driver.wait_task("t1")).await;
        assert_eq!(exit.unwrap().unwrap().code, 4, "{faults:?}");
        assert_eq!((engine.creations(), engine.runs()), (1, 1), "{faults:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_stays_away_fails_the_start_and_nomad_may_try_again() {
    let engine = FakeEngine::default();
    let driver = driver(&engine);
    engine.set_start_faults(&[StartFault::NotDone; 1000]);
    let begin = tokio::time::Instant::now();
    let refusal = driver.start_task(task("t1", "exit 4")).await.unwrap_err();
    assert!(refusal.is_recoverable(), "{refusal}");
    assert!((29..=31).contains(&begin.elapsed().as_secs()));
    assert_eq!(engine.runs(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_nobody_answers_any_more_is_not_the_word_that_a_task_runs() {
    let engine = FakeEngine::default();
    engine.set_deaf();
    let driver = driver(&engine);
    let task = task("t1", "sleep 60; exit 4");
    driver.start_task(task).await.unwrap();
    sleep(Duration::from_secs(60 + 121)).await;
    // The rest is other threads', whose time can't be made to pass.
    tokio::time::resume();
    let exit = timeout(WAIT_MAX, driver.wait_task("t1")).await;
    assert_eq!(exit.unwrap().unwrap().code, 4);
}

#[tokio::test]
async fn a_task_is_taken_over_while_the_engine_is_away_and_its_exit_is_told_when_it_is_back() {
    let engine = FakeEngine::default();
    let handle = driver(&engine)
        .start_task(task("t1", "sleep 0.3; exit 5"))
        .await
        .unwrap()
        .handle;
    let after = driver(&engine);
    engine.set_down(true);
    after.recover_task(handle).await.unwrap();
    engine.set_down(false);
    assert_eq!(
        timeout(WAIT_MAX, after.wait_task("t1"))
            .await
            .unwrap()
            .unwrap()
            .code,
        5
    );
}

#[tokio::test]
async fn a_start_waits_for_an_engine_that_is_being_restarted() {
    let engine = FakeEngine::default();
    let driver = driver(&engine);
    engine.set_down(true);
    let start = driver.start_task(task("t1", "sleep 600"));
    tokio::pin!(start);
    let early = timeout(Duration::from_millis(300), &mut start).await;
    assert!(early.is_err(), "{early:?}");
    engine.set_down(false);
    timeout(WAIT_MAX, start).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_image_that_is_nowhere_is_named_and_not_tried_again() {
    let engine = FakeEngine::default();
    let mut task = task("t1", "exit 0");
    task.msgpack_driver_config = options(&[("image", "nowhere:1".into())]);
    let refusal = driver(&engine).start_task(task).await.unwrap_err();
    assert!(
        refusal.to_string().contains("Failed to pull `nowhere:1`") && !refusal.is_recoverable(),
        "{refusal}"
    );
}

#[tokio::test]
async fn a_start_that_the_agent_gives_up_leaves_no_container_behind() {
    let engine = FakeEngine::default();
    engine.set_create_delay(Duration::from_millis(300));
    let driver = driver(&engine);
    let start = Box::pin(driver.start_task(task("t1", "sleep 600")));
    let early = timeout(Duration::from_millis(100), start).await;
    assert!(early.is_err(), "{early:?}");
    // The engine was asked, so it makes the container all the same.
    let removal = async {
        while engine.creations() == 0 || !engine.containers().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(WAIT_MAX, removal).await.unwrap();
}

/// An earlier process was killed between the mounting of a task's folders and their use.
#[tokio::test]
async fn what_a_killed_process_left_mounted_is_taken_down_though_nothing_starts() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mount_point = folder.path().join("0/7");
    std::fs::create_dir_all(&mount_point).unwrap();
    let (no_text, flags) = (None::<&str>, nix::mount::MsFlags::empty());
    nix::mount::mount(Some("left"), &mount_point, Some("tmpfs"), flags, no_text).unwrap();
    let driver = driver(&FakeEngine::default()).with_stages(Stages::at(folder.path()));
    let fingerprints = driver.fingerprint();
    let removal = async {
        while mount_point.exists() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(WAIT_MAX, removal).await.unwrap();
    drop(fingerprints);
}
