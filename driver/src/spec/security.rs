//! Capabilities, privileges, namespaces and devices: what a task may ask for beyond a plain container.

use bollard::models::{HostConfig, HostConfigCgroupnsModeEnum};

use super::devices;
use super::{Inputs, SpecError, non_empty, seccomp, text};
use crate::pattern::matches;

/// What Docker gives every container.
const DOCKER_CAPS: [&str; 14] = [
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

/// What a job may set without a privilege.
const FREE_SECURITY_OPTIONS: [&str; 4] = ["apparmor", "label", "no-new-privileges", "seccomp"];

pub(super) fn apply(inputs: Inputs<'_>, host: &mut HostConfig) -> Result<(), SpecError> {
    let Inputs {
        options, plugin, ..
    } = inputs;
    if options.privileged && !plugin.allow_privileged {
        return Err(refusal(
            "privileged",
            "Docker privileged mode is disabled on this Nomad agent".to_owned(),
        ));
    }
    host.privileged = Some(options.privileged);

    if !options.runtime.is_empty() && !plugin.allow_runtimes.contains(&options.runtime) {
        return Err(refusal(
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
    for (option, mode, patterns, target) in modes {
        let is_permitted = mode.is_empty()
            || plugin.allow_privileged
            || patterns.iter().any(|pattern| matches(pattern, mode));
        if !is_permitted {
            let reason = format!(
                "cannot apply {option:?} configuration {mode:?}: the agent's plugin configuration allows it neither by allowed_modes nor by allow_privileged"
            );
            return Err(refusal(option, reason));
        }
        *target = text(mode);
    }

    let caps = Caps::of(&options.cap_add, &options.cap_drop, &plugin.allow_caps)?;
    host.cap_add = non_empty(&caps.add);
    host.cap_drop = non_empty(&caps.drop);
    host.security_opt = security_opt(inputs)?;
    host.cgroupns_mode = match options.cgroupns.as_str() {
        "" => None,
        "host" => Some(HostConfigCgroupnsModeEnum::HOST),
        "private" => Some(HostConfigCgroupnsModeEnum::PRIVATE),
        other => {
            return Err(refusal(
                "cgroupns",
                format!("{other:?} is neither host nor private"),
            ));
        }
    };

    host.devices = devices::of(inputs)?;
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
struct Caps {
    add: Vec<String>,
    drop: Vec<String>,
}

impl Caps {
    fn of(add: &[String], drop: &[String], allow: &[String]) -> Result<Self, SpecError> {
        let [add, drop, allow] =
            [add, drop, allow].map(|list| list.iter().map(|cap| plain(cap)).collect::<Vec<_>>());
        let allows_all = allow.iter().any(|cap| cap == "all");
        let excess: Vec<_> = add
            .iter()
            .filter(|cap| !allows_all && !allow.contains(cap))
            .cloned()
            .collect();
        if !excess.is_empty() {
            let reason = format!(
                "driver does not allow the following capabilities: {}",
                excess.join(", ")
            );
            return Err(refusal("cap_add", reason));
        }
        if drop.iter().any(|cap| cap == "all") {
            return Ok(Self {
                add,
                drop: vec!["all".to_owned()],
            });
        }
        let defaults = DOCKER_CAPS
            .iter()
            .filter(|cap| !allows_all && !allow.iter().any(|patterns| patterns == *cap));
        let mut drop: Vec<_> = defaults.map(|cap| (*cap).to_owned()).chain(drop).collect();
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

/// `seccomp=<file of the host>` becomes the file's content, which is what the API wants. Only options that take away, or
/// whose worst is a container without the engine's own profiles, are a job's to choose.
fn security_opt(inputs: Inputs<'_>) -> Result<Option<Vec<String>>, SpecError> {
    let invalid = |reason: String| Err(refusal("security_opt", reason));
    let mut list = Vec::new();
    for option in &inputs.options.security_opt {
        match seccomp::split(option) {
            None if option == "no-new-privileges" => list.push(option.clone()),
            None => return invalid(format!("invalid security_opt: {option:?}")),
            Some(("seccomp", value)) if !seccomp::is_word(value) => match inputs.profile {
                Some(profile) => list.push(format!("seccomp={profile}")),
                None => return invalid(format!("the seccomp profile {value:?} was not read")),
            },
            Some((key, _)) if FREE_SECURITY_OPTIONS.contains(&key) => list.push(option.clone()),
            Some(_) if inputs.plugin.allow_privileged => list.push(option.clone()),
            Some((key, _)) => {
                return invalid(format!(
                    "{key:?} is none of {}; others need allow_privileged in the agent's plugin configuration",
                    FREE_SECURITY_OPTIONS.join(", ")
                ));
            }
        }
    }
    Ok((!list.is_empty()).then_some(list))
}

fn refusal(option: &'static str, reason: String) -> SpecError {
    SpecError::Option { option, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(words: &str) -> Vec<String> {
        words.split_whitespace().map(str::to_owned).collect()
    }

    fn of(add: &str, drop: &str, allow: &str) -> Result<Caps, SpecError> {
        Caps::of(&list(add), &list(drop), &list(allow))
    }

    #[test]
    fn what_docker_gives_and_the_agent_does_not_allow_is_dropped() {
        let caps = DOCKER_CAPS
            .iter()
            .filter(|cap| **cap != "net_raw")
            .copied()
            .collect::<Vec<_>>()
            .join(" ");
        assert_eq!(
            of("", "", &caps).unwrap(),
            Caps {
                add: vec![],
                drop: list("net_raw")
            }
        );
        assert_eq!(
            of("CAP_CHOWN", "ALL", "chown").unwrap(),
            Caps {
                add: list("chown"),
                drop: list("all")
            }
        );
        assert_eq!(
            of("sys_admin", "kill", "all").unwrap(),
            Caps {
                add: list("sys_admin"),
                drop: list("kill")
            }
        );
    }

    #[test]
    fn a_capability_that_is_not_allowed_is_named() {
        let refusal = of("net_raw sys_time chown", "", "chown")
            .unwrap_err()
            .to_string();
        assert!(refusal.contains("net_raw, sys_time"), "{refusal}");
    }
}
