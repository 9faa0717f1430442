//! Streams of output from a real client and a socket that answers with any bytes one likes.

use std::sync::Arc;

use docker_ipvs::engine::docker::DockerEngine;
use docker_ipvs::engine::{Address, ContainerEngine, ContainerId, EngineError};
use futures_util::StreamExt;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixListener;

/// What the socket answers: whether the container has a terminal, and what its output is.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    tty: bool,
    output: Arc<Vec<u8>>,
    /// So many times.
    times: usize,
}

impl Script {
    /// Of a container with a terminal.
    pub(crate) fn of(output: &[u8]) -> Self {
        Self {
            tty: true,
            output: Arc::new(output.to_vec()),
            times: 1,
        }
    }
}

fn engine(script: Script) -> (DockerEngine, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(serve(connection, script.clone()));
        }
    });
    let address = Address::plain(format!("unix://{}", socket.display()));
    (DockerEngine::connect(&address).unwrap(), folder)
}

pub(crate) async fn serve(
    mut connection: impl AsyncRead + AsyncWrite + Unpin,
    script: Script,
) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(connection.read_u8().await?);
    }
    let request = String::from_utf8(request).unwrap();
    if request.contains("/attach") {
        let head = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
        connection.write_all(head).await?;
        for _ in 0..script.times {
            connection.write_all(&script.output).await?;
        }
        return connection.shutdown().await;
    }
    let body = if request.contains("/version") {
        r#"{"Version":"20.10.24","ApiVersion":"1.41"}"#.to_owned()
    } else if request.contains("/json") {
        format!(
            r#"{{"Id":"c","Name":"/c","State":{{"Running":true}},"Config":{{"Tty":{}}}}}"#,
            script.tty
        )
    } else {
        String::new()
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.write_all(head.as_bytes()).await
}

fn id() -> ContainerId {
    ContainerId("c".to_owned())
}

/// The bytes of an attachment, and the error it ended with.
async fn attach(script: Script) -> (Vec<u8>, Option<EngineError>) {
    let (engine, _folder) = engine(script);
    let mut output = engine.attach(&id()).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(item) = output.next().await {
        match item {
            Ok(chunk) => bytes.extend_from_slice(&chunk.bytes),
            Err(error) => return (bytes, Some(error)),
        }
    }
    (bytes, None)
}

#[tokio::test]
async fn a_terminals_output_that_looks_like_a_header_arrives_as_it_is() {
    for first in [0, 1, 2, 3, 255] {
        let output = [&[first], b"abcdefgh\n".as_slice(), &b"line\n".repeat(2000)].concat();
        let script = Script {
            tty: true,
            output: Arc::new(output.clone()),
            times: 1,
        };
        let (bytes, error) = attach(script).await;
        assert_eq!(bytes, output);
        assert!(error.is_none(), "{error:?}");
    }
}

#[tokio::test]
async fn a_line_without_end_is_passed_on_in_pieces_that_fit() {
    let script = Script {
        tty: true,
        output: Arc::new(vec![1; 1024 * 1024]),
        times: 64,
    };
    let (engine, _folder) = engine(script);
    let mut output = engine.attach(&id()).await.unwrap();
    let (mut sum, mut largest) = (0, 0);
    while let Some(item) = output.next().await {
        let length = item.unwrap().bytes.len();
        (sum, largest) = (sum + length, largest.max(length));
    }
    assert_eq!(sum, 64 * 1024 * 1024);
    assert!(largest <= 64 * 1024, "{largest}");
}

#[tokio::test]
async fn frames_that_are_none_or_that_end_early_are_errors_and_not_output() {
    for (output, expected, words) in [
        (
            &b"\x01\0\0\0\0\0\0\x05hell"[..],
            &b"hell"[..],
            "ends inside a frame",
        ),
        (
            b"\x01\0\0\0\xff\xff\xff\xffhello",
            b"hello",
            "ends inside a frame",
        ),
        (b"plain text", b"", "begins with"),
        (
            b"\x02\0\0\0\0\0\0\x02ok\x03\0\0\0\0\0\0\x04full",
            b"ok",
            "reports: full",
        ),
    ] {
        let script = Script {
            tty: false,
            output: Arc::new(output.to_vec()),
            times: 1,
        };
        let (bytes, error) = attach(script).await;
        assert_eq!(bytes, expected);
        let error = error.unwrap().to_string();
        assert!(error.contains(words), "{error}");
    }
}
