use std::collections::HashMap;
use std::path::Path;

use nomad_driver_sdk::{PortMapping, TaskConfig};
use nomad_ipvs_proto::driver::{
    AllocatedMemoryResources, AllocatedTaskResources, LinuxResources, Resources,
};

use super::*;
use crate::stage::Kind;

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
) -> Result<ContainerSpec, SpecError> {
    build_under(&PluginConfig::default(), task, options, driver)
}

fn build_under(
    plugin: &PluginConfig,
    task: &TaskConfig,
    options: &TaskOptions,
    driver: &str,
) -> Result<ContainerSpec, SpecError> {
    let driver = DriverName::from_path(std::path::Path::new(driver)).unwrap();
    build(Inputs {
        task,
        options,
        plugin,
        agent: &Agent::new(None),
        driver: &driver,
        place: &Place::Stage("/stage".into()),
        profile: None,
    })
}

#[test]
fn a_plain_task_becomes_a_container_with_its_directories_and_limits() {
    let options = TaskOptions {
        command: "httpd".into(),
        args: vec!["-f".into()],
        ..options()
    };
    let ContainerSpec { body, sources, .. } = build_with(&task(), &options, "docker").unwrap();
    assert_eq!(body.cmd, Some(vec!["httpd".into(), "-f".into()]));
    assert_eq!(body.env, Some(vec!["A=1".into(), "B=2".into()]));
    let host = body.host_config.unwrap();
    assert_eq!(host.memory, Some(64 * 1024 * 1024));
    assert_eq!(host.cpu_shares, Some(50));
    assert_eq!(host.network_mode.as_deref(), Some("default"));
    let folders = [
        ("alloc", "/stage/0", "/alloc", false),
        ("web/local", "/stage/1", "/local", false),
        ("web/secrets", "/stage/2", "/secrets", false),
        ("alloc/logs", "/stage/3", "/alloc/logs", true),
    ];
    let mounts = host.mounts.unwrap();
    assert_eq!(
        (mounts.len(), sources.len()),
        (folders.len(), folders.len())
    );
    for ((path, staged, target, read_only), (source, mount)) in
        folders.iter().zip(sources.iter().zip(&mounts))
    {
        assert_eq!(
            (source.path.as_path(), source.kind),
            (Path::new(path), Kind::Driver)
        );
        assert_eq!(
            (
                mount.source.as_deref(),
                mount.target.as_deref(),
                mount.read_only
            ),
            (Some(*staged), Some(*target), Some(*read_only))
        );
    }
    assert_eq!(host.binds, None);
    assert_eq!(name(&task()), "web-a1");
}

#[test]
fn a_group_port_is_published_for_both_protocols_at_its_host_address() {
    let options = TaskOptions {
        ports: vec!["www".into()],
        ..options()
    };
    let body = build_with(&task(), &options, "docker").unwrap().body;
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
    let refusal = build_with(&task(), &options, "docker")
        .unwrap_err()
        .to_string();
    assert_eq!(refusal, "Port \"api\" not found, check network block");
}

#[test]
fn under_another_name_the_labels_are_our_own() {
    let labels = |driver| {
        build_with(&task(), &options(), driver)
            .unwrap()
            .body
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
    let forgeries = [
        ("com.hashicorp.nomad.alloc_id", "other"),
        ("nomad-ipvs.driver", "other"),
        ("com.hashicorp.nomad.job_id", "other"),
        ("com.hashicorp.nomad.namespace", "other"),
        ("nomad-ipvs.namespace", "other"),
        ("com.hashicorp.nomads", "mine"),
    ];
    let options = TaskOptions {
        labels: forgeries
            .map(|(key, value)| (key.into(), value.into()))
            .into(),
        ..options()
    };
    let ContainerSpec { body, remarks, .. } = build_with(&task(), &options, "docker").unwrap();
    let labels = body.labels.unwrap();
    assert_eq!(
        (
            labels["com.hashicorp.nomad.alloc_id"].as_str(),
            labels["nomad-ipvs.driver"].as_str()
        ),
        ("a1", "docker")
    );
    assert_eq!(labels["com.hashicorp.nomads"], "mine");
    assert_eq!(labels.len(), 4, "{labels:?}");
    assert_eq!(remarks.len(), 5, "{remarks:?}");
}

#[test]
fn a_dns_server_that_is_no_address_is_left_out_with_a_remark() {
    let options = TaskOptions {
        dns_servers: ["127.0.0.1:8600", "consul.service", "198.18.0.1", "::1"]
            .map(str::to_owned)
            .to_vec(),
        ..options()
    };
    let ContainerSpec { body, remarks, .. } = build_with(&task(), &options, "docker").unwrap();
    assert_eq!(
        body.host_config.unwrap().dns,
        Some(vec!["198.18.0.1".into(), "::1".into()])
    );
    assert_eq!(remarks.len(), 2);
    assert!(
        remarks[0].contains("\"127.0.0.1:8600\" is left out"),
        "{remarks:?}"
    );
}

#[test]
fn a_task_option_without_effect_is_refused_by_name() {
    let refusal = build_with(
        &task(),
        &TaskOptions {
            load: "image.tar".into(),
            ..options()
        },
        "docker",
    )
    .unwrap_err()
    .to_string();
    assert_eq!(refusal, "this driver does not have the task option load");
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
        "..:/a",
        ".:/a",
        "../other:/a:ro",
        "/nomad/alloc/a1:/a",
        "/nomad/alloc/a2/alloc:/a",
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
            "devices",
            TaskOptions {
                devices: vec![crate::config::options::Device {
                    host_path: "/dev/sda".into(),
                    ..crate::config::options::Device::default()
                }],
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
        let refusal = build_with(&task(), &options, "docker")
            .unwrap_err()
            .to_string();
        assert!(refusal.starts_with(option), "{refusal}");
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

#[test]
fn with_volumes_enabled_host_paths_go_by_and_those_of_the_allocation_are_staged_all_the_same() {
    let plugin = PluginConfig {
        volumes_enabled: true,
        ..PluginConfig::default()
    };
    let options = TaskOptions {
        volumes: ["/etc:/etc:ro", "local/data:/data:ro", "..:/whole"]
            .map(str::to_owned)
            .to_vec(),
        ..options()
    };
    let ContainerSpec { body, sources, .. } =
        build_under(&plugin, &task(), &options, "docker").unwrap();
    let host = body.host_config.unwrap();
    assert_eq!(
        host.binds,
        Some(vec!["/etc:/etc:ro".into(), "/nomad/alloc/a1:/whole".into()])
    );
    assert_eq!(sources[4].path, Path::new("web/local/data"));
    let data = &host.mounts.unwrap()[4];
    assert_eq!(
        (data.source.as_deref(), data.read_only),
        (Some("/stage/4"), Some(true))
    );
}

#[test]
fn a_selinux_label_needs_the_words_of_a_bind() {
    let plugin = PluginConfig {
        selinux_label: "z".into(),
        ..PluginConfig::default()
    };
    let options = TaskOptions {
        volumes: vec!["local/data:/data:ro".into()],
        ..options()
    };
    let body = build_under(&plugin, &task(), &options, "docker")
        .unwrap()
        .body;
    let binds = body.host_config.unwrap().binds.unwrap();
    assert_eq!(binds[0], "/stage/0:/alloc:z");
    assert_eq!(binds[3], "/stage/3:/alloc/logs:ro,z");
    assert_eq!(binds[4], "/stage/4:/data:ro,z");
}

#[test]
fn security_options_that_give_are_the_operators() {
    let with = |option: &str| {
        let options = TaskOptions {
            security_opt: vec![option.into()],
            ..options()
        };
        build_with(&task(), &options, "docker")
    };
    for free in ["no-new-privileges", "label=disable", "seccomp=unconfined"] {
        assert!(with(free).is_ok(), "{free}");
    }
    for option in [
        "apparmor",
        "writable-cgroups=true",
        "systempaths=unconfined",
    ] {
        assert!(with(option).is_err(), "{option}");
    }
}
