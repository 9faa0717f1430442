//! Services of freshly installed packages: stopped and disabled.
//!
//! Packages enable what they bring, so a Docker engine installed for the lab would come up at the next boot
//! of somebody's machine. Only units of packages that were not there before are touched. Not for units that
//! the lab itself might want: it has none.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::host::programs;
use crate::host::stream;

/// What a package brings that an init system would start.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Service {
    /// A systemd unit.
    Unit(String),
    /// A script in `/etc/init.d`.
    Script(String),
}

/// Stops and disables all services of these packages.
///
/// # Errors
/// Names those that would not be disabled.
pub(super) fn silence(packages: &[String]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let listed = stream::answer(
        Command::new("dpkg").arg("--listfiles").args(packages),
        Duration::from_secs(30),
    );
    let services = services_in(listed.as_deref().unwrap_or_default());
    let stubborn: Vec<String> = services.iter().filter_map(silence_one).collect();
    if stubborn.is_empty() {
        return Ok(());
    }
    bail!(
        "installed, but still enabled at boot: {}",
        stubborn.join(", ")
    )
}

/// The service's name if it stayed enabled.
fn silence_one(service: &Service) -> Option<String> {
    match service {
        Service::Unit(unit) => {
            programs::find("systemctl")?;
            // Nothing has started it; this is for a maintainer script that asks no policy.
            if systemctl("is-active", unit) {
                systemctl("stop", unit);
            }
            if systemctl("is-enabled", unit) {
                systemctl("disable", unit);
            }
            systemctl("is-enabled", unit).then(|| unit.clone())
        }
        Service::Script(name) => {
            let tool = programs::find("update-rc.d")?;
            let done = stream::answer(
                Command::new(tool).args([name, "disable"]),
                Duration::from_secs(30),
            );
            done.is_none().then(|| format!("/etc/init.d/{name}"))
        }
    }
}

fn systemctl(verb: &str, unit: &str) -> bool {
    stream::answer(
        Command::new("systemctl").args([verb, "--quiet", unit]),
        Duration::from_mins(1),
    )
    .is_some()
}

/// Services among the files of packages.
fn services_in(files: &str) -> Vec<Service> {
    files.lines().filter_map(service_of).collect()
}

fn service_of(file: &str) -> Option<Service> {
    let (folder, name) = file.rsplit_once('/')?;
    let name = name.to_owned();
    let is_unit = [".service", ".socket", ".timer", ".path"]
        .iter()
        .any(|end| name.ends_with(end));
    match folder {
        // Templates (`x@.service`) can't be enabled without an instance.
        "/lib/systemd/system" | "/usr/lib/systemd/system" if is_unit && !name.contains('@') => {
            Some(Service::Unit(name))
        }
        "/etc/init.d" => Some(Service::Script(name)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_scripts_are_found_among_files_and_templates_are_not() {
        let files = "/.\n/etc\n/etc/init.d\n/etc/init.d/docker\n/lib/systemd/system\n/lib/systemd/system/docker.service\n\
                     /lib/systemd/system/docker.socket\n/lib/systemd/system/x@.service\n/usr/share/doc/docker.service\n\
                     /lib/systemd/system/x.service.d/y.conf\n";
        let expected = [
            Service::Script("docker".into()),
            Service::Unit("docker.service".into()),
            Service::Unit("docker.socket".into()),
        ];
        assert_eq!(services_in(files), expected);
    }
}
