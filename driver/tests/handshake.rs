//! Spawns the real binary as an agent does and speaks go-plugin and Nomad's protocol to it. Needs neither Docker nor network.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use nomad_ipvs_proto::base::base_plugin_client::BasePluginClient;
use nomad_ipvs_proto::base::{ConfigSchemaRequest, PluginInfoRequest, SetConfigRequest};
use nomad_ipvs_proto::driver::driver_client::DriverClient;
use nomad_ipvs_proto::driver::fingerprint_response::HealthState;
use nomad_ipvs_proto::driver::{
    CapabilitiesRequest, CreateNetworkRequest, DestroyNetworkRequest, DestroyTaskRequest,
    FingerprintRequest, InspectTaskRequest, NetworkIsolationSpec, StartTaskRequest,
    StopTaskRequest, TaskConfig, TaskConfigSchemaRequest,
};
use nomad_ipvs_proto::plugin::Empty;
use nomad_ipvs_proto::plugin::grpc_controller_client::GrpcControllerClient;
use tonic::Code;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

const COOKIE: (&str, &str) = (
    "NOMAD_PLUGIN_MAGIC_COOKIE",
    "e4327c2e01eabfd75a8a67adb114fb34a757d57eee7728d857a8cec6e91a7255",
);

/// A plugin process under the name `name`, its sockets in a directory of the test.
struct Plugin {
    child: Child,
    stdout: BufReader<ChildStdout>,
    dir: tempfile::TempDir,
}

impl Plugin {
    fn spawn(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let binary = dir.path().join(name);
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_docker-ipvs"), &binary).unwrap();
        let mut child = command(&binary)
            .env(COOKIE.0, COOKIE.1)
            .env("PLUGIN_PROTOCOL_VERSIONS", "2")
            .env("PLUGIN_UNIX_SOCKET_DIR", dir.path())
            .env(
                "DOCKER_HOST",
                format!("unix://{}/no-engine.sock", dir.path().display()),
            )
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout, dir }
    }

    fn socket(&mut self) -> PathBuf {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        let fields: Vec<_> = line.trim_end_matches('\n').split('|').collect();
        assert_eq!(
            (&fields[..3], &fields[4..]),
            (&["1", "2", "unix"][..], &["grpc", ""][..]),
            "{line}"
        );
        PathBuf::from(fields[3])
    }

    async fn connect(&mut self) -> Channel {
        let socket = self.socket();
        let connector = service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move {
                tokio::net::UnixStream::connect(socket)
                    .await
                    .map(TokioIo::new)
            }
        });
        Endpoint::from_static("http://unused")
            .connect_with_connector(connector)
            .await
            .unwrap()
    }

    fn ends_within(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if self.child.try_wait().unwrap().is_some() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }

    fn leftovers(&self) -> usize {
        let entries = std::fs::read_dir(self.dir.path()).unwrap().flatten();
        entries
            .filter(|entry| {
                entry
                    .file_name()
                    .to_string_lossy()
                    .starts_with("nomad-driver-")
            })
            .count()
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    command.env_remove(COOKIE.0);
    command
}

#[test]
fn started_by_hand_it_says_what_it_is_and_exits_with_1() {
    for cookie in [None, Some("wrong")] {
        let mut by_hand = command(Path::new(env!("CARGO_BIN_EXE_docker-ipvs")));
        if let Some(cookie) = cookie {
            by_hand.env(COOKIE.0, cookie);
        }
        let output = by_hand.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty());
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains("started by a Nomad agent"), "{stderr}");
    }
}

#[tokio::test]
async fn its_name_is_its_files_and_it_beats_the_built_in_drivers_version() {
    for name in ["docker", "docker-ipvs"] {
        let mut plugin = Plugin::spawn(name);
        let mut base = BasePluginClient::new(plugin.connect().await);
        let info = base
            .plugin_info(PluginInfoRequest {})
            .await
            .unwrap()
            .into_inner();
        assert_eq!(
            (info.name.as_str(), info.plugin_api_versions.as_slice()),
            (name, &["v0.1.0".to_owned()][..])
        );
        assert_eq!(info.plugin_version, env!("CARGO_PKG_VERSION"));
        let schema = base
            .config_schema(ConfigSchemaRequest {})
            .await
            .unwrap()
            .into_inner();
        assert!(schema.spec.is_some());
    }
}

#[tokio::test]
async fn shutdown_ends_the_process_and_leaves_no_socket() {
    let mut plugin = Plugin::spawn("docker");
    let channel = plugin.connect().await;
    // An open stream must not hold the exit back.
    let _stream = DriverClient::new(channel.clone())
        .fingerprint(FingerprintRequest {})
        .await
        .unwrap();
    assert_eq!(plugin.leftovers(), 1);
    GrpcControllerClient::new(channel)
        .shutdown(Empty {})
        .await
        .unwrap();
    assert!(plugin.ends_within(Duration::from_secs(2)));
    assert_eq!(plugin.leftovers(), 0);
}

#[tokio::test]
async fn an_interrupt_is_ignored_and_a_termination_is_clean() {
    use nix::sys::signal::{Signal, kill};
    let mut plugin = Plugin::spawn("docker");
    let channel = plugin.connect().await;
    let pid = nix::unistd::Pid::from_raw(plugin.child.id().try_into().unwrap());
    kill(pid, Signal::SIGINT).unwrap();
    assert!(!plugin.ends_within(Duration::from_millis(300)));
    BasePluginClient::new(channel)
        .plugin_info(PluginInfoRequest {})
        .await
        .unwrap();
    kill(pid, Signal::SIGTERM).unwrap();
    assert!(plugin.ends_within(Duration::from_secs(2)));
    assert_eq!(plugin.leftovers(), 0);
}

#[tokio::test]
async fn without_an_engine_the_first_fingerprint_comes_at_once_and_says_so() {
    let mut plugin = Plugin::spawn("docker");
    let channel = plugin.connect().await;
    BasePluginClient::new(channel.clone())
        .set_config(SetConfigRequest::default())
        .await
        .unwrap();
    let mut fingerprints = DriverClient::new(channel)
        .fingerprint(FingerprintRequest {})
        .await
        .unwrap()
        .into_inner();
    let first = tokio::time::timeout(Duration::from_secs(5), fingerprints.message())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(first.health(), HealthState::Undetected);
    assert!(
        first.health_description.contains("no-engine.sock"),
        "{}",
        first.health_description
    );
}

#[tokio::test]
async fn a_bad_configuration_is_refused_with_the_option_named() {
    let mut plugin = Plugin::spawn("docker");
    let mut base = BasePluginClient::new(plugin.connect().await);
    // {"image_pull_timeout": "soon"}
    let msgpack_config = [&[0x81, 0xb2][..], b"image_pull_timeout", &[0xa4], b"soon"].concat();
    let refusal = base
        .set_config(SetConfigRequest {
            msgpack_config,
            ..SetConfigRequest::default()
        })
        .await
        .unwrap_err();
    assert_eq!(refusal.code(), Code::Unknown);
    assert!(
        refusal.message().contains("image_pull_timeout"),
        "{}",
        refusal.message()
    );
}

#[tokio::test]
async fn an_unknown_task_is_stopped_and_destroyed_but_not_inspected() {
    let mut plugin = Plugin::spawn("docker");
    let mut driver = DriverClient::new(plugin.connect().await);
    driver
        .stop_task(StopTaskRequest {
            task_id: "gone".into(),
            ..StopTaskRequest::default()
        })
        .await
        .unwrap();
    driver
        .destroy_task(DestroyTaskRequest {
            task_id: "gone".into(),
            force: true,
        })
        .await
        .unwrap();
    assert!(
        driver
            .inspect_task(InspectTaskRequest {
                task_id: "gone".into()
            })
            .await
            .is_err()
    );
}

#[tokio::test]
async fn networks_are_left_to_the_agent() {
    let mut plugin = Plugin::spawn("docker");
    let mut driver = DriverClient::new(plugin.connect().await);
    let capabilities = driver
        .capabilities(CapabilitiesRequest {})
        .await
        .unwrap()
        .into_inner()
        .capabilities
        .unwrap();
    assert!(!capabilities.must_create_network);
    let refusals = [
        driver
            .create_network(CreateNetworkRequest::default())
            .await
            .unwrap_err(),
        driver
            .destroy_network(DestroyNetworkRequest {
                alloc_id: "gone".into(),
                isolation_spec: Some(NetworkIsolationSpec::default()),
            })
            .await
            .unwrap_err(),
    ];
    for refusal in refusals {
        assert_eq!(refusal.code(), Code::Unimplemented);
        assert!(
            refusal.message().ends_with("not supported by this driver"),
            "{refusal}"
        );
    }
}

#[tokio::test]
async fn a_task_option_without_effect_is_refused_by_name() {
    let mut plugin = Plugin::spawn("docker");
    let channel = plugin.connect().await;
    BasePluginClient::new(channel.clone())
        .set_config(SetConfigRequest::default())
        .await
        .unwrap();
    let mut driver = DriverClient::new(channel);
    assert!(
        driver
            .task_config_schema(TaskConfigSchemaRequest {})
            .await
            .unwrap()
            .into_inner()
            .spec
            .is_some()
    );
    assert!(
        driver
            .capabilities(CapabilitiesRequest {})
            .await
            .unwrap()
            .into_inner()
            .capabilities
            .is_some()
    );
    // {"image": "busybox:1", "load": "x.tar"}
    let msgpack_driver_config = [
        &[0x82, 0xa5][..],
        b"image",
        &[0xa9],
        b"busybox:1",
        &[0xa4],
        b"load",
        &[0xa5],
        b"x.tar",
    ]
    .concat();
    let task = TaskConfig {
        id: "a".into(),
        msgpack_driver_config,
        ..TaskConfig::default()
    };
    let refusal = driver
        .start_task(StartTaskRequest { task: Some(task) })
        .await
        .unwrap_err();
    assert!(
        refusal
            .message()
            .ends_with("this driver does not have the task option load"),
        "{}",
        refusal.message()
    );
    assert!(
        driver
            .start_task(StartTaskRequest::default())
            .await
            .is_err()
    );
}
