//! Capabilities, privileges, namespaces and devices: what a task may ask for beyond a plain container.

use std::fs;

use bollard::models::{DeviceMapping, HostConfig, HostConfigCgroupnsModeEnum};
use serde_json::Value;

use super::labels::matches;
use super::{Inputs, SpecError, filled, text};

/// What Docker gives every container.
const DOCKERS_CAPS: [&str; 14] = [
    "audit_write",
    "chown",
    "dac_override",
    "fowner",
    "fsetid",
    "kill",
    "mknod",
    "net_bind_service",
    "net_raw",
    "setfcap",
    "setgid",
    "setpcap",
    "setuid",
    "sys_chroot",
];

pub(super) fn apply(inputs: Inputs<'_>, host: &mut HostConfig) -> Result<(), SpecError> {
    let Inputs {
        task,
        options,
        plugin,
        ..
    } = inputs;
    if options.privileged && !plugin.allow_privileged {
        return Err(refused(
            "privileged",
            "Docker privileged mode is disabled on this Nomad agent".to_owned(),
        ));
    }
    host.privileged = Some(options.privileged);

    if !options.runtime.is_empty() && !plugin.allow_runtimes.contains(&options.runtime) {
        return Err(refused(
            "runtime",
            format!("requested runtime {:?} is not allowed", options.runtime),
        ));
    }
    host.runtime = text(&options.runtime);

    let modes = [
        (
            "pid_mode",
            &options.pid_mode,
            &plugin.allowed_modes.pid,
            &mut host.pid_mode,
        ),
        (
            "ipc_mode",
            &options.ipc_mode,
            &plugin.allowed_modes.ipc,
            &mut host.ipc_mode,
        ),
        (
            "userns_mode",
            &options.userns_mode,
            &plugin.allowed_modes.userns,
            &mut host.userns_mode,
        ),
        (
            "uts_mode",
            &options.uts_mode,
            &plugin.allowed_modes.uts,
            &mut host.uts_mode,
        ),
    ];
    for (option, wanted, allowed, target) in modes {
        let permitted = wanted.is_empty()
            || plugin.allow_privileged
            || allowed.iter().any(|pattern| matches(pattern, wanted));
        if !permitted {
            let reason = format!(
                "cannot apply {option:?} configuration {wanted:?}: the agent's plugin configuration allows it neither by allowed_modes nor by allow_privileged"
            );
            return Err(refused(option, reason));
        }
        *target = text(wanted);
    }

    let caps = Capabilities::of(&options.cap_add, &options.cap_drop, &plugin.allow_caps)?;
    host.cap_add = filled(&caps.add);
    host.cap_drop = filled(&caps.drop);
    host.security_opt = security_opt(&options.security_opt)?;
    host.cgroupns_mode = match options.cgroupns.as_str() {
        "" => None,
        "host" => Some(HostConfigCgroupnsModeEnum::HOST),
        "private" => Some(HostConfigCgroupnsModeEnum::PRIVATE),
        other => {
            return Err(refused(
                "cgroupns",
                format!("{other:?} is neither host nor private"),
            ));
        }
    };

    let mut devices = Vec::new();
    for device in &options.devices {
        if device.host_path.is_empty() {
            return Err(refused(
                "devices",
                "host path must be set in configuration for devices".to_owned(),
            ));
        }
        let inside = text(&device.container_path).unwrap_or_else(|| device.host_path.clone());
        let permissions = text(&device.cgroup_permissions).unwrap_or_else(|| "rwm".to_owned());
        if let Some(odd) = permissions.chars().find(|c| !"rwm".contains(*c)) {
            return Err(refused(
                "devices",
                format!(
                    "invalid cgroup permission string {permissions:?}: {odd:?} is none of r, w and m"
                ),
            ));
        }
        devices.push(mapping(&device.host_path, &inside, &permissions));
    }
    devices.extend(task.devices.iter().map(|device| {
        mapping(
            &device.host_path,
            &device.task_path,
            &device.cgroup_permissions,
        )
    }));
    host.devices = (!devices.is_empty()).then_some(devices);
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
struct Capabilities {
    add: Vec<String>,
    drop: Vec<String>,
}

impl Capabilities {
    fn of(add: &[String], drop: &[String], allow: &[String]) -> Result<Self, SpecError> {
        let [add, drop, allow] =
            [add, drop, allow].map(|list| list.iter().map(|cap| plain(cap)).collect::<Vec<_>>());
        let everything = allow.iter().any(|cap| cap == "all");
        let missing: Vec<_> = add
            .iter()
            .filter(|cap| !everything && !allow.contains(cap))
            .cloned()
            .collect();
        if !missing.is_empty() {
            let reason = format!(
                "driver does not allow the following capabilities: {}",
                missing.join(", ")
            );
            return Err(refused("cap_add", reason));
        }
        if drop.iter().any(|cap| cap == "all") {
            return Ok(Self {
                add,
                drop: vec!["all".to_owned()],
            });
        }
        let withheld = DOCKERS_CAPS
            .iter()
            .filter(|cap| !everything && !allow.iter().any(|allowed| allowed == *cap));
        let mut drop: Vec<_> = withheld.map(|cap| (*cap).to_owned()).chain(drop).collect();
        drop.sort();
        drop.dedup();
        Ok(Self { add, drop })
    }
}

/// `CAP_NET_RAW`, `net_raw` and `NET_RAW` are one.
fn plain(cap: &str) -> String {
    let lower = cap.trim().to_ascii_lowercase();
    lower
        .strip_prefix("cap_")
        .map_or(lower.clone(), str::to_owned)
}

/// `seccomp=<file of the host>` becomes the file's content, which is what the API wants.
fn security_opt(options: &[String]) -> Result<Option<Vec<String>>, SpecError> {
    let mut made = Vec::new();
    for option in options {
        let (key, value) = match option.split_once(['=', ':']) {
            Some(pair) => pair,
            None if option == "no-new-privileges" => (option.as_str(), ""),
            None => {
                return Err(refused(
                    "security_opt",
                    format!("invalid security_opt: {option:?}"),
                ));
            }
        };
        if key != "seccomp" || value == "unconfined" {
            made.push(option.clone());
            continue;
        }
        let bad = |reason: String| {
            refused(
                "security_opt",
                format!("opening seccomp profile ({value}) failed: {reason}"),
            )
        };
        let profile = fs::read_to_string(value).map_err(|error| bad(error.to_string()))?;
        let profile: Value =
            serde_json::from_str(&profile).map_err(|error| bad(error.to_string()))?;
        made.push(format!("seccomp={profile}"));
    }
    Ok((!made.is_empty()).then_some(made))
}

fn mapping(host: &str, inside: &str, permissions: &str) -> DeviceMapping {
    DeviceMapping {
        path_on_host: text(host),
        path_in_container: text(inside),
        cgroup_permissions: text(permissions),
    }
}

fn refused(option: &'static str, reason: String) -> SpecError {
    SpecError::Option { option, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(words: &str) -> Vec<String> {
        words.split_whitespace().map(str::to_owned).collect()
    }

    fn of(add: &str, drop: &str, allow: &str) -> Result<Capabilities, SpecError> {
        Capabilities::of(&list(add), &list(drop), &list(allow))
    }

    #[test]
    fn what_docker_gives_and_the_agent_does_not_allow_is_dropped() {
        let all_but_raw = DOCKERS_CAPS
            .iter()
            .filter(|cap| **cap != "net_raw")
            .copied()
            .collect::<Vec<_>>()
            .join(" ");
        assert_eq!(
            of("", "", &all_but_raw).unwrap(),
            Capabilities {
                add: vec![],
                drop: list("net_raw")
            }
        );
        assert_eq!(
            of("CAP_CHOWN", "ALL", "chown").unwrap(),
            Capabilities {
                add: list("chown"),
                drop: list("all")
            }
        );
        assert_eq!(
            of("sys_admin", "kill", "all").unwrap(),
            Capabilities {
                add: list("sys_admin"),
                drop: list("kill")
            }
        );
    }

    #[test]
    fn a_capability_that_is_not_allowed_is_named() {
        let refused = of("net_raw sys_time chown", "", "chown")
            .unwrap_err()
            .to_string();
        assert!(refused.contains("net_raw, sys_time"), "{refused}");
    }

    #[test]
    fn a_security_option_without_a_value_is_refused() {
        assert!(security_opt(&list("no-new-privileges label=disable")).is_ok());
        assert!(security_opt(&list("apparmor")).is_err());
        assert!(
            security_opt(&list("seccomp=/nowhere.json"))
                .unwrap_err()
                .to_string()
                .contains("/nowhere.json")
        );
    }
}
