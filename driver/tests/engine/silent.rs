//! An engine that hangs: it takes every connection, says which version it is, and answers nothing else.

use std::path::Path;
use std::time::Duration;

use docker_ipvs::driver::DockerDriver;
use docker_ipvs::engine::docker::DockerEngine;
use docker_ipvs::engine::{Address, Command, CommandId, ContainerEngine, ContainerId, EngineError};
use docker_ipvs::name::DriverName;
use docker_ipvs::task::handle::DriverState;
use nomad_driver_sdk::value::{ExecRequest, TaskState};
use nomad_driver_sdk::{DriverError, TaskDriver};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::driver::task;
use crate::suite::shell;

/// The longest that a call may take beyond what it was given itself.
const LIMIT: Duration = Duration::from_secs(61);
const GRACE: Duration = Duration::from_secs(5);

const VERSION: &str = r#"{"Version":"20.10.24","ApiVersion":"1.41"}"#;

#[tokio::test(start_paused = true)]
async fn no_call_to_an_engine_that_hangs_waits_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    tokio::spawn(serve(UnixListener::bind(&socket).unwrap()));
    let engine = connected(&socket).await;
    let id = ContainerId("c".repeat(64));
    let exec = CommandId("e".to_owned());
    let command = Command {
        words: vec!["true".to_owned()],
        tty: false,
        stdin: false,
    };
    bounded("facts", engine.facts()).await;
    bounded("find_image", engine.find_image("busybox:1")).await;
    bounded("create", Box::pin(engine.create("name", shell("exit 0")))).await;
    bounded("start", engine.start(&id)).await;
    bounded("inspect", engine.inspect(&id.0)).await;
    bounded("stop", engine.stop(&id, GRACE)).await;
    bounded("kill", engine.kill(&id, "SIGTERM")).await;
    bounded("remove", engine.remove(&id)).await;
    bounded("attach", engine.attach(&id)).await;
    bounded("history", engine.history(&id, 0, false)).await;
    bounded("exec", engine.exec(&id, command)).await;
    bounded("exec_state", engine.exec_state(&exec)).await;
    bounded("resize", engine.resize(&exec, 24, 80)).await;
    bounded("sample", engine.sample(&id)).await;
    bounded("list_running", engine.list_running("label", "value")).await;
}

/// What the agent waits for at most: the task's own time to stop, and what one call to the engine may take.
#[tokio::test(start_paused = true)]
async fn no_call_to_a_driver_whose_engine_hangs_waits_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    tokio::spawn(serve(UnixListener::bind(&socket).unwrap()));
    let driver = over(&socket);
    let handle = DriverState {
        container: ContainerId("c".repeat(64)),
        network: None,
        logger: None,
    };
    // An engine that does not answer has not said that the container is gone: the task is kept.
    let handle = handle.into_handle(task("t1", "sleep 600"));
    driver.recover_task(handle).await.unwrap();
    let words = vec!["true".to_owned()];
    let request = ExecRequest {
        task_id: "t1".to_owned(),
        command: words.clone(),
        tty: false,
    };
    let ((_input, inputs), (outputs, _output)) = (mpsc::channel(1), mpsc::channel(1));
    let start = driver.start_task(task("t2", "exit 0"));
    expect_timeout("start", Box::pin(start)).await;
    expect_timeout("stop", driver.stop_task("t1", GRACE, None)).await;
    expect_timeout("stop", driver.stop_task("t1", GRACE, Some("SIGINT"))).await;
    expect_timeout("signal", driver.signal_task("t1", "SIGHUP")).await;
    expect_timeout("exec", driver.exec_task("t1", words, LIMIT)).await;
    let stream = driver.exec_task_streaming(request, inputs, outputs);
    expect_timeout("streaming exec", Box::pin(stream)).await;
    // Asks nobody: what is known of the task is still that it runs.
    let status = driver.inspect_task("t1").await.unwrap();
    assert_eq!(status.state, TaskState::Running);
    expect_timeout("destroy", driver.destroy_task("t1", true)).await;
}

fn over(socket: &Path) -> DockerDriver<DockerEngine> {
    let name = DriverName::from_path(Path::new("docker")).unwrap();
    let address = Address::plain(format!("unix://{}", socket.display()));
    let driver = DockerDriver::new(name, move |_: &Address| DockerEngine::connect(&address));
    driver.set_config(&[], None).unwrap();
    driver
}

async fn expect_timeout<T>(call_name: &str, call: impl Future<Output = Result<T, DriverError>>) {
    let begin = Instant::now();
    let error = call.await.err().map(|error| error.to_string());
    assert!(
        error
            .as_ref()
            .is_some_and(|error| error.contains("did not answer")),
        "{call_name}: {error:?}"
    );
    assert!(begin.elapsed() <= LIMIT + GRACE, "{call_name}");
}

async fn bounded<T>(call_name: &str, call: impl Future<Output = Result<T, EngineError>>) {
    let begin = Instant::now();
    let answer = call.await.err();
    assert!(
        matches!(answer, Some(EngineError::Timeout { .. })),
        "{call_name}: {answer:?}"
    );
    assert!(begin.elapsed() <= LIMIT + GRACE, "{call_name}");
}

/// Past the negotiation, which is a call of its own.
async fn connected(socket: &Path) -> DockerEngine {
    let engine =
        DockerEngine::connect(&Address::plain(format!("unix://{}", socket.display()))).unwrap();
    // The first call negotiates; the version after it is asked for in vain.
    bounded("the first call", engine.facts()).await;
    engine
}

async fn serve(listener: UnixListener) {
    let mut has_version = false;
    let mut open = Vec::new();
    loop {
        let mut connection = listener.accept().await.unwrap().0;
        if !has_version {
            has_version = true;
            tell_version(&mut connection).await;
        }
        open.push(connection);
    }
}

async fn tell_version(connection: &mut UnixStream) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(connection.read_u8().await.unwrap());
    }
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{VERSION}",
        VERSION.len()
    );
    connection.write_all(answer.as_bytes()).await.unwrap();
}
