//! Jobs whose author has no privilege and wants the host, under a driver with its default configuration: what is refused
//! before any engine is asked. What races with the engine is in `race`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use docker_ipvs::driver::DockerDriver;
use docker_ipvs::engine::{Address, ContainerEngine, EngineError};
use docker_ipvs::name::DriverName;
use nomad_driver_sdk::{TaskConfig, TaskDriver};
use rmpv::Value;
use tokio::time::timeout;

use crate::driver::{alloc_dir, options};
use crate::fake::FakeEngine;
use crate::suite::unique;

pub(crate) const WAIT_MAX: Duration = Duration::from_secs(30);
/// What is of the host and in no container of these tests.
pub(crate) const MARK: &str = "nomad-ipvs-host-mark";

pub(crate) fn driver_over<E: ContainerEngine>(
    connect: impl Fn(&Address) -> Result<E, EngineError> + Send + Sync + 'static,
) -> DockerDriver<E> {
    let name = DriverName::from_path(Path::new("docker-ipvs")).unwrap();
    let driver = DockerDriver::new(name, connect);
    driver.set_config(&[], None).unwrap();
    driver
}

fn over(engine: &FakeEngine) -> DockerDriver<FakeEngine> {
    let engine = engine.clone();
    driver_over(move |_: &Address| Ok(engine.clone()))
}

pub(crate) fn task_of(id: &str, alloc: &Path, script: &str, more: &[(&str, Value)]) -> TaskConfig {
    let args = Value::Array(vec!["-c".into(), script.into()]);
    let mut options_list = vec![
        ("image", "busybox:1".into()),
        ("command", "sh".into()),
        ("args", args),
        ("network_mode", "none".into()),
    ];
    options_list.extend_from_slice(more);
    TaskConfig {
        id: id.into(),
        name: "web".into(),
        // Names of containers are the machine's.
        alloc_id: unique(),
        alloc_dir: alloc.display().to_string(),
        msgpack_driver_config: options(&options_list),
        ..crate::driver::task(id, "exit 0")
    }
}

pub(crate) fn list(words: &[&str]) -> Value {
    Value::Array(words.iter().map(|word| (*word).into()).collect())
}

async fn refusal(task: TaskConfig) -> String {
    let engine = FakeEngine::default();
    let refusal = timeout(WAIT_MAX, over(&engine).start_task(task))
        .await
        .unwrap();
    assert!(engine.containers().is_empty());
    refusal.unwrap_err().to_string()
}

/// A folder that stands for the host, with the mark in it.
pub(crate) fn host() -> PathBuf {
    let host = alloc_dir("web");
    fs::write(host.join(MARK), "").unwrap();
    host
}

#[tokio::test]
async fn nobody_gets_the_allocations_directory_to_replace_what_is_bound_from_it() {
    for volume in ["..:/a", ".:/a", "../other:/a", "local/../..:/a", "..:/a:ro"] {
        let volumes = list(&[volume]);
        let task = task_of("t1", &alloc_dir("web"), "exit 0", &[("volumes", volumes)]);
        let reason = refusal(task).await;
        assert!(
            reason.contains("volumes are not enabled"),
            "{volume}: {reason}"
        );
    }
}

#[tokio::test]
async fn a_local_folder_that_became_a_link_to_the_host_is_not_bound_at_the_restart() {
    let alloc = alloc_dir("web");
    fs::remove_dir(alloc.join("web/local")).unwrap();
    symlink("/", alloc.join("web/local")).unwrap();
    let reason = refusal(task_of("t1", &alloc, "exit 0", &[])).await;
    assert!(reason.contains("symbolic link"), "{reason}");
}

/// A symbolic link below the allocation as a volume's or a mount's source, at the end of the path and within it.
#[tokio::test]
async fn cve_2026_14896_a_link_in_a_source_does_not_lead_to_the_host() {
    let (alloc, host) = (alloc_dir("web"), host());
    symlink(&host, alloc.join("web/local/out")).unwrap();
    symlink("/", alloc.join("alloc/data/root")).unwrap();
    for source in [
        "local/out",
        "local/out/alloc",
        "../alloc/data/root",
        "../alloc/data/root/etc",
    ] {
        let volumes = list(&[&format!("{source}:/a")]);
        let mount = Value::Map(vec![
            ("type".into(), "bind".into()),
            ("source".into(), source.into()),
            ("target".into(), "/a".into()),
        ]);
        for more in [("volumes", volumes), ("mount", Value::Array(vec![mount]))] {
            let reason = refusal(task_of("t1", &alloc, "exit 0", &[more])).await;
            assert!(
                reason.contains("leads out of the allocation"),
                "{source}: {reason}"
            );
        }
    }
}

/// The namespaces of the host or of any container, without `allowed_modes`.
#[tokio::test]
async fn cve_2026_14891_no_namespace_mode_is_free() {
    for option in ["pid_mode", "ipc_mode", "userns_mode", "uts_mode"] {
        for value in ["host", "container:other", "private"] {
            let task = task_of("t1", &alloc_dir("web"), "exit 0", &[(option, value.into())]);
            let reason = refusal(task).await;
            assert!(reason.contains("allowed_modes"), "{option}: {reason}");
        }
    }
}

#[tokio::test]
async fn the_network_of_another_allocations_container_is_refused_and_of_the_own_is_joined() {
    let engine = FakeEngine::default();
    let driver = over(&engine);
    let of = |id: &str, alloc: &str, name: &str, mode: &str| TaskConfig {
        alloc_id: alloc.into(),
        name: name.into(),
        ..task_of(
            id,
            &alloc_dir(name),
            "sleep 600",
            &[("network_mode", mode.into())],
        )
    };
    driver
        .start_task(of("t1", "a1", "db", "none"))
        .await
        .unwrap();
    let refusal = driver
        .start_task(of("t2", "a2", "web", "container:db-a1"))
        .await
        .unwrap_err();
    assert!(
        refusal.to_string().contains("is not of this allocation") && !refusal.is_recoverable(),
        "{refusal}"
    );
    let early = driver
        .start_task(of("t2", "a2", "web", "container:db-a2"))
        .await
        .unwrap_err();
    assert!(early.is_recoverable(), "{early}");
    driver
        .start_task(of("t3", "a1", "web", "container:db-a1"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_seccomp_profile_that_never_ends_costs_a_refusal_each_time() {
    let alloc = alloc_dir("web");
    for path in ["/proc/kmsg", "/dev/zero", "/dev/stdin", "relative.json"] {
        for _ in 0..3 {
            let option = list(&[&format!("seccomp={path}")]);
            let task = task_of("t1", &alloc, "exit 0", &[("security_opt", option)]);
            let reason = refusal(task).await;
            assert!(reason.contains(path), "{reason}");
        }
    }
}

#[tokio::test]
async fn a_disk_is_not_a_device_for_anybody() {
    for path in ["/dev/sda", "/dev/mem", "/dev/dri/../sda", "/dev"] {
        let device = Value::Map(vec![("host_path".into(), path.into())]);
        let devices = Value::Array(vec![device]);
        let task = task_of("t1", &alloc_dir("web"), "exit 0", &[("devices", devices)]);
        let reason = refusal(task).await;
        assert!(reason.contains("allow_devices"), "{path}: {reason}");
    }
}

#[tokio::test]
async fn no_number_of_a_job_is_too_big_to_be_refused() {
    let alloc = alloc_dir("web");
    for (option, value) in [
        ("drain", Value::from("99999999h")),
        ("drain", "1h".into()),
        ("image_pull_timeout", "9999999999h".into()),
        ("memory_hard_limit", Value::from(1_i64 << 44)),
        ("memory_hard_limit", i64::MAX.into()),
    ] {
        let reason = refusal(task_of("t1", &alloc, "exit 0", &[(option, value)])).await;
        assert!(reason.contains(option), "{option}: {reason}");
    }
}
