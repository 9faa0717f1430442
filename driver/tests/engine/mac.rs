//! Where a container's MAC address stands in what an engine is asked, by the version of its API.

use std::collections::HashMap;
use std::time::Duration;

use bollard::models::{ContainerCreateBody, EndpointSettings, NetworkingConfig};
use docker_ipvs::engine::docker::DockerEngine;
use docker_ipvs::engine::{Address, ContainerEngine};
use nomad_driver_sdk::{TaskConfig, TaskDriver};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::docker;
use crate::driver::{alloc_dir, options};
use crate::hostile::{driver_over, list, task_of};

const MAC: &str = "02:42:ac:11:65:43";
const WAIT_MAX: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_mac_address_stands_where_the_engines_version_looks_for_it() {
    for (version, beside_the_image) in [
        ("1.41", true),
        ("1.43", true),
        ("1.44", false),
        ("1.52", false),
    ] {
        let create_request = create_request(version).await;
        let expected = if beside_the_image {
            Value::from(MAC)
        } else {
            Value::Null
        };
        assert_eq!(create_request["MacAddress"], expected, "{version}");
        assert_eq!(create_request["Image"], "busybox:1", "{version}");
        let endpoint = &create_request["NetworkingConfig"]["EndpointsConfig"]["default"];
        assert_eq!(endpoint["MacAddress"], MAC, "{version}");
    }
}

/// Through the whole driver, whatever the engine's version is.
pub(crate) async fn a_container_has_the_mac_address_that_its_task_asks_for() {
    let alloc = alloc_dir("web");
    let script = format!("test $(cat /sys/class/net/eth0/address) = {MAC}");
    let config = options(&[
        ("image", "busybox:1".into()),
        ("command", "sh".into()),
        ("args", list(&["-c", &script])),
        ("network_mode", "bridge".into()),
        ("mac_address", MAC.into()),
    ]);
    let driver = driver_over(|_: &Address| Ok(docker()));
    let task = TaskConfig {
        msgpack_driver_config: config,
        ..task_of("t1", &alloc, "", &[])
    };
    driver.start_task(task).await.unwrap();
    let exit = timeout(WAIT_MAX, driver.wait_task("t1"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(exit.code, 0, "{exit:?}");
    driver.destroy_task("t1", true).await.unwrap();
}

/// The body of a creation that an engine with this API version gets.
async fn create_request(version: &'static str) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let (bodies, mut body) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let connection = listener.accept().await.unwrap().0;
            tokio::spawn(answer(connection, version, bodies.clone()));
        }
    });
    let engine =
        DockerEngine::connect(&Address::plain(format!("unix://{}", socket.display()))).unwrap();
    let endpoint = EndpointSettings {
        mac_address: Some(MAC.to_owned()),
        ..EndpointSettings::default()
    };
    let container = ContainerCreateBody {
        image: Some("busybox:1".to_owned()),
        networking_config: Some(NetworkingConfig {
            endpoints_config: Some(HashMap::from([("default".to_owned(), endpoint)])),
        }),
        ..ContainerCreateBody::default()
    };
    let answer = timeout(WAIT_MAX, Box::pin(engine.create("web", container))).await;
    assert_eq!(answer.unwrap().unwrap().0, "c1");
    body.recv().await.unwrap()
}

async fn answer(connection: UnixStream, version: &str, bodies: mpsc::Sender<Value>) {
    let mut connection = BufReader::new(connection);
    loop {
        let (mut line, mut length) = (String::new(), 0);
        while line != "\r\n" {
            line.clear();
            if connection.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        connection.read_exact(&mut body).await.unwrap();
        let answer = if let Ok(create_request) = serde_json::from_slice(&body) {
            let _ = bodies.try_send(create_request);
            r#"{"Id":"c1","Warnings":[]}"#.to_owned()
        } else {
            format!(r#"{{"Version":"test","ApiVersion":"{version}"}}"#)
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{answer}",
            answer.len()
        );
        if connection.write_all(head.as_bytes()).await.is_err() {
            return;
        }
    }
}
