use std::collections::HashMap;

use nomad_driver_sdk::{PortMapping, TaskConfig};
use nomad_ipvs_proto::driver::{
    AllocatedMemoryResources, AllocatedTaskResources, LinuxResources, Resources,
};

use super::*;

fn task() -> TaskConfig {
    TaskConfig {
        id: "a1/web/1".into(),
        name: "web".into(),
        alloc_id: "a1".into(),
        alloc_dir: "/nomad/alloc/a1".into(),
        node_id: "n1".into(),
        env: HashMap::from([("B".into(), "2".into()), ("A".into(), "1".into())]),
        resources: Some(Resources {
            allocated_resources: Some(AllocatedTaskResources {
                memory: Some(AllocatedMemoryResources {
                    memory_mb: 64,
                    memory_max_mb: 0,
                }),
                ..AllocatedTaskResources::default()
            }),
            linux_resources: Some(LinuxResources {
                cpu_shares: 50,
                ..LinuxResources::default()
            }),
            ports: vec![PortMapping {
                label: "www".into(),
                value: 23747,
                to: 8001,
                host_ip: "198.18.0.11".into(),
            }],
        }),
        ..TaskConfig::default()
    }
}

fn options() -> TaskOptions {
    TaskOptions {
        image: "busybox:1".into(),
        ..TaskOptions::default()
    }
}

fn build_with(
    task: &TaskConfig,
    options: &TaskOptions,
    driver: &str,
) -> Result<ContainerCreateBody, SpecError> {
    let plugin = PluginConfig::from_msgpack(&[]).unwrap();
    let driver = DriverName::from_path(std::path::Path::new(driver)).unwrap();
    build(Inputs {
        task,
        options,
        plugin: &plugin,
        agent: &Agent::new(None),
        driver: &driver,
    })
}

#[test]
fn a_plain_task_becomes_a_container_with_its_directories_and_limits() {
    let options = TaskOptions {
        command: "httpd".into(),
        args: vec!["-f".into()],
        ..options()
    };
    let body = build_with(&task(), &options, "docker").unwrap();
    assert_eq!(body.cmd, Some(vec!["httpd".into(), "-f".into()]));
    assert_eq!(body.env, Some(vec!["A=1".into(), "B=2".into()]));
    let host = body.host_config.unwrap();
    assert_eq!(host.memory, Some(64 * 1024 * 1024));
    assert_eq!(host.cpu_shares, Some(50));
    assert_eq!(host.network_mode.as_deref(), Some("default"));
    let binds = [
        "/nomad/alloc/a1/alloc:/alloc",
        "/nomad/alloc/a1/web/local:/local",
        "/nomad/alloc/a1/web/secrets:/secrets",
        "/nomad/alloc/a1/alloc/logs:/alloc/logs:ro",
    ];
    assert_eq!(host.binds, Some(binds.map(str::to_owned).to_vec()));
    assert_eq!(name(&task()), "web-a1");
}

#[test]
fn a_group_port_is_published_for_both_protocols_at_its_host_address() {
    let options = TaskOptions {
        ports: vec!["www".into()],
        ..options()
    };
    let body = build_with(&task(), &options, "docker").unwrap();
    assert_eq!(
        body.exposed_ports,
        Some(vec!["8001/tcp".into(), "8001/udp".into()])
    );
    let bindings = body.host_config.unwrap().port_bindings.unwrap();
    for protocol in ["8001/tcp", "8001/udp"] {
        let binding = &bindings[protocol].as_ref().unwrap()[0];
        assert_eq!(
            (binding.host_ip.as_deref(), binding.host_port.as_deref()),
            (Some("198.18.0.11"), Some("23747"))
        );
    }
}

#[test]
fn a_port_that_the_group_does_not_have_is_named() {
    let options = TaskOptions {
        ports: vec!["api".into()],
        ..options()
    };
    let refused = build_with(&task(), &options, "docker")
        .unwrap_err()
        .to_string();
    assert_eq!(refused, "Port \"api\" not found, check network block");
}

#[test]
fn under_another_name_the_labels_are_our_own() {
    let labels = |driver| {
        build_with(&task(), &options(), driver)
            .unwrap()
            .labels
            .unwrap()
    };
    let docker = labels("docker");
    assert_eq!(docker["com.hashicorp.nomad.alloc_id"], "a1");
    assert_eq!(docker["nomad-ipvs.driver"], "docker");
    let beside = labels("docker-ipvs");
    assert!(
        !beside
            .keys()
            .any(|label| label.starts_with("com.hashicorp")),
        "{beside:?}"
    );
    assert_eq!(
        (
            beside["nomad-ipvs.alloc_id"].as_str(),
            beside["nomad-ipvs.node"].as_str()
        ),
        ("a1", "n1")
    );
}

#[test]
fn our_labels_cannot_be_overridden() {
    let forged = [
        ("com.hashicorp.nomad.alloc_id", "other"),
        ("nomad-ipvs.driver", "other"),
    ];
    let options = TaskOptions {
        labels: forged.map(|(key, value)| (key.into(), value.into())).into(),
        ..options()
    };
    let labels = build_with(&task(), &options, "docker")
        .unwrap()
        .labels
        .unwrap();
    assert_eq!(
        (
            labels["com.hashicorp.nomad.alloc_id"].as_str(),
            labels["nomad-ipvs.driver"].as_str()
        ),
        ("a1", "docker")
    );
}

#[test]
fn a_task_option_without_effect_is_refused_by_name() {
    let refused = build_with(
        &task(),
        &TaskOptions {
            load: "image.tar".into(),
            ..options()
        },
        "docker",
    )
    .unwrap_err()
    .to_string();
    assert_eq!(refused, "this driver does not have the task option load");
}

#[test]
fn a_host_path_needs_volumes_enabled_and_a_path_of_the_allocation_does_not() {
    let with = |volume: &str| {
        build_with(
            &task(),
            &TaskOptions {
                volumes: vec![volume.into()],
                ..options()
            },
            "docker",
        )
    };
    assert!(with("local/data:/data").is_ok());
    for outside in [
        "/etc:/etc",
        "../../../etc:/etc",
        "local/../../../../etc:/etc:ro",
    ] {
        assert!(
            with(outside)
                .unwrap_err()
                .to_string()
                .contains("volumes are not enabled"),
            "{outside}"
        );
    }
    assert!(
        with("/etc")
            .unwrap_err()
            .to_string()
            .contains("source:target")
    );
}

#[test]
fn privileges_the_agent_did_not_grant_are_refused() {
    let cases = [
        (
            "privileged",
            TaskOptions {
                privileged: true,
                ..options()
            },
        ),
        (
            "pid_mode",
            TaskOptions {
                pid_mode: "host".into(),
                ..options()
            },
        ),
        (
            "runtime",
            TaskOptions {
                runtime: "kata".into(),
                ..options()
            },
        ),
        (
            "cap_add",
            TaskOptions {
                cap_add: vec!["sys_admin".into()],
                ..options()
            },
        ),
    ];
    for (option, options) in cases {
        let refused = build_with(&task(), &options, "docker")
            .unwrap_err()
            .to_string();
        assert!(refused.starts_with(option), "{refused}");
    }
}

#[test]
fn white_space_around_the_command_is_refused() {
    assert!(
        build_with(
            &task(),
            &TaskOptions {
                command: " httpd".into(),
                ..options()
            },
            "docker"
        )
        .is_err()
    );
}
