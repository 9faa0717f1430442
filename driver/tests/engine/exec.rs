//! Commands inside a task, through the whole driver on the fake engine.

use std::time::Duration;

use docker_ipvs::driver::DockerDriver;
use nomad_driver_sdk::TaskDriver;
use nomad_driver_sdk::value::{ExecOutput, ExecRequest};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::driver::{WAIT_MAX, driver, task};
use crate::fake::FakeEngine;

fn words(script: &str) -> Vec<String> {
    ["sh", "-c", script].map(str::to_owned).to_vec()
}

fn request(script: &str) -> ExecRequest {
    ExecRequest {
        task_id: "t1".to_owned(),
        command: words(script),
        tty: false,
    }
}

async fn driver_with_task(engine: &FakeEngine) -> DockerDriver<FakeEngine> {
    let driver = driver(engine);
    driver.start_task(task("t1", "sleep 90000")).await.unwrap();
    driver
}

/// The exit code, and what came with the seconds after which it did.
async fn stream_script(
    driver: &DockerDriver<FakeEngine>,
    script: &str,
) -> (i32, Vec<(String, u64)>) {
    let begin = Instant::now();
    let ((_input, inputs), (outputs, mut output)) = (mpsc::channel(1), mpsc::channel(1));
    let collect = async {
        let mut came = Vec::new();
        while let Some(ExecOutput::Stdout(bytes) | ExecOutput::Stderr(bytes)) = output.recv().await
        {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            came.push((text, begin.elapsed().as_secs()));
        }
        came
    };
    let command = driver.exec_task_streaming(request(script), inputs, outputs);
    let (exit, came) = tokio::join!(command, collect);
    (exit.unwrap().code, came)
}

#[tokio::test(start_paused = true)]
async fn a_command_that_runs_for_an_hour_is_hardly_asked_about() {
    let engine = FakeEngine::default();
    let driver = driver_with_task(&engine).await;
    let (code, _) = stream_script(&driver, "sleep 3600; exit 3").await;
    assert_eq!(code, 3);
    assert!(engine.questions() <= 1820, "{}", engine.questions());
}

#[tokio::test(start_paused = true)]
async fn a_child_that_keeps_the_output_open_does_not_hold_the_exit_back() {
    let engine = FakeEngine::default();
    let driver = driver_with_task(&engine).await;
    let begin = Instant::now();
    let (code, came) = stream_script(&driver, "hold; echo one; sleep 60; exit 3").await;
    assert_eq!((code, came), (3, vec![("one\n".to_owned(), 0)]));
    assert!(begin.elapsed() <= Duration::from_secs(63));
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_slow_to_say_whether_a_command_runs_does_not_hold_its_output_up() {
    let engine = FakeEngine::default();
    let driver = driver_with_task(&engine).await;
    engine.set_command_delays(Duration::ZERO, Duration::from_secs(9));
    let (code, came) = stream_script(&driver, "sleep 1; echo one; sleep 1; echo two; exit 3").await;
    let expected = [("one\n".to_owned(), 1), ("two\n".to_owned(), 2)];
    assert_eq!((code, came), (3, expected.to_vec()));
}

#[tokio::test(start_paused = true)]
async fn a_command_whose_agent_has_gone_is_let_go() {
    let engine = FakeEngine::default();
    let driver = driver_with_task(&engine).await;
    let ((_input, inputs), (outputs, output)) = (mpsc::channel(1), mpsc::channel(1));
    let command = driver.exec_task_streaming(request("sleep 3600"), inputs, outputs);
    let goodbye = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(output);
    };
    let end = async { tokio::join!(command, goodbye).0 };
    let error = timeout(WAIT_MAX, end)
        .await
        .unwrap()
        .unwrap_err()
        .to_string();
    assert!(error.contains("nobody listens"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn two_hundred_commands_of_one_task_do_not_hold_up_another() {
    let engine = FakeEngine::default();
    let driver = driver_with_task(&engine).await;
    let other = docker_task("t2");
    driver.start_task(other).await.unwrap();
    engine.set_command_delays(Duration::from_millis(100), Duration::ZERO);
    let hostile = (0..200).map(|_| driver.exec_task("t1", words("exit 0"), Duration::from_mins(1)));
    let hostile = futures_util::future::join_all(hostile);
    let other = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let begin = Instant::now();
        driver
            .exec_task("t2", words("echo fine"), Duration::from_mins(1))
            .await
            .unwrap();
        begin.elapsed()
    };
    let (results, took) = tokio::join!(hostile, other);
    assert!(
        results
            .iter()
            .all(|result| result.as_ref().is_ok_and(|result| result.exit.code == 0))
    );
    assert!(took < Duration::from_millis(500), "{took:?}");
    assert!(engine.starts_max() <= 5, "{}", engine.starts_max());
}

fn docker_task(id: &str) -> nomad_driver_sdk::TaskConfig {
    nomad_driver_sdk::TaskConfig {
        name: "other".into(),
        ..task(id, "sleep 90000")
    }
}
