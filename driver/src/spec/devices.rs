//! Devices: those of the agent's device plugins as they are, those that a job names by rule.
//!
//! A device is as much of the host as a path is: with a disk's, a job has all that is on it. So without
//! `allow_privileged` a job gets what matches `allow_devices`.

use std::path::{Component, Path};

use bollard::models::DeviceMapping;

use super::{Inputs, SpecError, text};
use crate::pattern::matches;

pub(super) fn of(inputs: Inputs<'_>) -> Result<Option<Vec<DeviceMapping>>, SpecError> {
    let Inputs {
        task,
        options,
        plugin,
        ..
    } = inputs;
    let mut devices = Vec::new();
    for device in &options.devices {
        if device.host_path.is_empty() {
            return Err(refusal(
                "host path must be set in configuration for devices".to_owned(),
            ));
        }
        if !plugin.allow_privileged && !is_permitted(&device.host_path, &plugin.allow_devices) {
            return Err(refusal(format!(
                "{:?} is not among the agent's allow_devices ({}), and allow_privileged is off",
                device.host_path,
                plugin.allow_devices.join(", ")
            )));
        }
        let inside = text(&device.container_path).unwrap_or_else(|| device.host_path.clone());
        let permissions = text(&device.cgroup_permissions).unwrap_or_else(|| "rwm".to_owned());
        if let Some(odd) = permissions.chars().find(|c| !"rwm".contains(*c)) {
            return Err(refusal(format!(
                "invalid cgroup permission string {permissions:?}: {odd:?} is none of r, w and m"
            )));
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
    Ok((!devices.is_empty()).then_some(devices))
}

/// Judges by the text alone, which therefore has to be plain. Only root can change what lies in /dev.
fn is_permitted(path: &str, patterns: &[String]) -> bool {
    let plain = Path::new(path)
        .components()
        .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    plain && path.starts_with("/dev/") && patterns.iter().any(|pattern| matches(pattern, path))
}

fn mapping(host: &str, inside: &str, permissions: &str) -> DeviceMapping {
    DeviceMapping {
        path_on_host: text(host),
        path_in_container: text(inside),
        cgroup_permissions: text(permissions),
    }
}

fn refusal(reason: String) -> SpecError {
    SpecError::Option {
        option: "devices",
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_to_be_named_plainly_and_permitted() {
        let patterns = ["/dev/dri/*", "/dev/fuse", "*"].map(str::to_owned);
        assert!(is_permitted("/dev/dri/card0", &patterns[..2]));
        assert!(is_permitted("/dev/fuse", &patterns[..2]));
        for path in [
            "/dev/sda",
            "/dev/mem",
            "/dev/dri/../sda",
            "/dev/./sda",
            "dev/fuse",
            "/nomad/alloc/a1/web/local/fuse",
        ] {
            assert!(!is_permitted(path, &patterns[..2]), "{path}");
        }
        assert!(is_permitted("/dev/sda", &patterns));
        assert!(!is_permitted("/tmp/sda", &patterns));
    }
}
