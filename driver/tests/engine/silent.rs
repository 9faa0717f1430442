//! An engine that hangs: it takes every connection, says which version it is, and answers nothing else.

use std::path::Path;
use std::time::Duration;

use docker_ipvs::engine::docker::DockerEngine;
use docker_ipvs::engine::{Command, CommandId, ContainerEngine, ContainerId, EngineError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::Instant;

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
    bounded("exec_exit", engine.exec_exit(&exec)).await;
    bounded("resize", engine.resize(&exec, 24, 80)).await;
    bounded("sample", engine.sample(&id)).await;
    bounded("list_running", engine.list_running("label", "value")).await;
}

async fn bounded<T>(what: &str, call: impl Future<Output = Result<T, EngineError>>) {
    let started = Instant::now();
    let answer = call.await.err();
    assert!(
        matches!(answer, Some(EngineError::Timeout { .. })),
        "{what}: {answer:?}"
    );
    assert!(started.elapsed() <= LIMIT + GRACE, "{what}");
}

/// Past the negotiation, which is a call of its own.
async fn connected(socket: &Path) -> DockerEngine {
    let engine = DockerEngine::connect(&format!("unix://{}", socket.display())).unwrap();
    // The first call negotiates; the version after it is asked for in vain.
    bounded("the first call", engine.facts()).await;
    engine
}

async fn serve(listener: UnixListener) {
    let mut negotiated = false;
    let mut open = Vec::new();
    loop {
        let mut connection = listener.accept().await.unwrap().0;
        if !negotiated {
            negotiated = true;
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
