//! What of the host the container sees: the allocation's directories always, anything else by rule.
//!
//! Without `volumes { enabled = true }` a task reaches only paths inside its own allocation, symbolic links resolved.

use std::fs;
use std::path::{Component, Path, PathBuf};

use bollard::models::{
    HostConfig, Mount, MountBindOptions, MountBindOptionsPropagationEnum as Propagation,
    MountTmpfsOptions, MountType, MountVolumeOptions, MountVolumeOptionsDriverConfig,
};
use nomad_driver_sdk::TaskConfig;

use super::{Inputs, SpecError, owned, text};
use crate::task::options;

pub(super) fn apply(inputs: Inputs<'_>, host: &mut HostConfig) -> Result<(), SpecError> {
    host.binds = Some(binds(inputs)?);
    let mut mounts = Vec::new();
    for mount in inputs.options.mount.iter().chain(&inputs.options.mounts) {
        mounts.push(configured(inputs, mount)?);
    }
    for mount in &inputs.task.mounts {
        mounts.push(Mount {
            typ: Some(MountType::BIND),
            target: Some(mount.task_path.clone()),
            source: Some(mount.host_path.clone()),
            read_only: Some(mount.readonly),
            bind_options: Some(MountBindOptions {
                propagation: Some(match mount.propagation_mode.as_str() {
                    "host-to-task" => Propagation::RSLAVE,
                    "bidirectional" => Propagation::RSHARED,
                    _ => Propagation::RPRIVATE,
                }),
                ..MountBindOptions::default()
            }),
            ..Mount::default()
        });
    }
    host.mounts = (!mounts.is_empty()).then_some(mounts);
    Ok(())
}

/// The directory of one task within its allocation.
pub(super) fn task_dir(task: &TaskConfig) -> PathBuf {
    Path::new(&task.alloc_dir).join(&task.name)
}

fn binds(inputs: Inputs<'_>) -> Result<Vec<String>, SpecError> {
    let Inputs {
        task,
        options,
        plugin,
        ..
    } = inputs;
    let label = if plugin.selinux_label.is_empty() {
        String::new()
    } else {
        format!(":{}", plugin.selinux_label)
    };
    let inside = |variable: &str, usual: &str| {
        task.env
            .get(variable)
            .cloned()
            .unwrap_or_else(|| usual.to_owned())
    };
    let shared = Path::new(&task.alloc_dir).join("alloc");
    let own = task_dir(task);
    let shared_inside = inside("NOMAD_ALLOC_DIR", "/alloc");
    // The agent and this driver write the log files as root: a task reads them and changes none.
    let logs = format!(
        "{}:{}/logs:ro{}",
        shared.join("logs").display(),
        shared_inside.trim_end_matches('/'),
        label.replace(':', ",")
    );
    let mut binds = [
        (shared, shared_inside),
        (own.join("local"), inside("NOMAD_TASK_DIR", "/local")),
        (own.join("secrets"), inside("NOMAD_SECRETS_DIR", "/secrets")),
    ]
    .map(|(source, target)| format!("{}:{target}{label}", source.display()))
    .to_vec();
    binds.push(logs);

    if !options.volume_driver.is_empty() && !plugin.volumes_enabled {
        return Err(refused(
            "volume_driver",
            format!(
                "volumes are not enabled; cannot use volume driver {:?}",
                options.volume_driver
            ),
        ));
    }
    for volume in &options.volumes {
        let mut parts = volume.splitn(3, ':');
        let (Some(source), Some(target), mode) = (parts.next(), parts.next(), parts.next()) else {
            return Err(refused(
                "volumes",
                format!("{volume:?} is not source:target or source:target:mode"),
            ));
        };
        let source = if options.volume_driver.is_empty() {
            permitted(inputs, "volumes", source)?.display().to_string()
        } else {
            clean(Path::new(source)).display().to_string()
        };
        let mode = match (mode, plugin.selinux_label.as_str()) {
            (None, "") => String::new(),
            (None, label) => format!(":{label}"),
            (Some(mode), "") => format!(":{mode}"),
            (Some(mode), label) => format!(":{mode},{label}"),
        };
        binds.push(format!("{source}:{target}{mode}"));
    }
    Ok(binds)
}

fn configured(inputs: Inputs<'_>, mount: &options::Mount) -> Result<Mount, SpecError> {
    let mut made = Mount {
        target: text(&mount.target),
        source: text(&mount.source),
        read_only: Some(mount.readonly),
        ..Mount::default()
    };
    match mount.r#type.as_str() {
        "bind" => {
            let propagation = mount
                .bind_options
                .as_ref()
                .map_or("", |options| &options.propagation);
            let propagation = text(propagation).map(|value| {
                value.parse().map_err(|_| refused("mount", format!("bind_options.propagation: {value:?} is none of Docker's propagation modes")))
            });
            made.typ = Some(MountType::BIND);
            made.source = Some(
                permitted(inputs, "mount", &mount.source)?
                    .display()
                    .to_string(),
            );
            made.bind_options = Some(MountBindOptions {
                propagation: propagation.transpose()?,
                ..MountBindOptions::default()
            });
        }
        "tmpfs" => {
            let options = mount.tmpfs_options.unwrap_or_default();
            made.typ = Some(MountType::TMPFS);
            made.tmpfs_options = Some(MountTmpfsOptions {
                size_bytes: Some(options.size),
                mode: Some(options.mode),
                ..MountTmpfsOptions::default()
            });
        }
        "volume" | "" => {
            if !inputs.plugin.volumes_enabled {
                return Err(refused(
                    "mount",
                    format!(
                        "volumes are not enabled; cannot mount volume: {:?}",
                        mount.source
                    ),
                ));
            }
            let options = mount.volume_options.clone().unwrap_or_default();
            let driver = options.driver_config.unwrap_or_default();
            made.typ = Some(MountType::VOLUME);
            made.volume_options = Some(MountVolumeOptions {
                no_copy: Some(options.no_copy),
                labels: Some(owned(&options.labels)),
                driver_config: Some(MountVolumeOptionsDriverConfig {
                    name: text(&driver.name),
                    options: Some(owned(&driver.options)),
                }),
                ..MountVolumeOptions::default()
            });
        }
        other => {
            return Err(refused(
                "mount",
                format!("type {other:?} is none of bind, tmpfs and volume"),
            ));
        }
    }
    Ok(made)
}

/// The host path that `source` means: relative ones start in the task's directory.
fn permitted(inputs: Inputs<'_>, option: &'static str, source: &str) -> Result<PathBuf, SpecError> {
    let path = clean(&task_dir(inputs.task).join(source));
    if inputs.plugin.volumes_enabled || inside(Path::new(&inputs.task.alloc_dir), &path) {
        Ok(path)
    } else {
        Err(refused(
            option,
            format!(
                "volumes are not enabled; cannot mount host path: {:?} {:?}",
                source,
                path.display().to_string()
            ),
        ))
    }
}

/// `path` is below `root`, also after the links of the part that exists are followed.
fn inside(root: &Path, path: &Path) -> bool {
    let root = clean(root);
    let real_root = fs::canonicalize(&root).unwrap_or_else(|_| root.clone());
    let existing = path.ancestors().find_map(|part| {
        fs::canonicalize(part)
            .ok()
            .map(|real| (part.to_owned(), real))
    });
    let real = existing.map_or_else(
        || path.to_owned(),
        |(part, real)| {
            path.strip_prefix(&part)
                .map_or(real.clone(), |rest| real.join(rest))
        },
    );
    path.starts_with(&root) && real.starts_with(&real_root)
}

/// Without `.` and `..`, by the text alone.
fn clean(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut cleaned, part| {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                cleaned.pop();
            }
            other => cleaned.push(other),
        }
        cleaned
    })
}

fn refused(option: &'static str, reason: String) -> SpecError {
    SpecError::Option { option, reason }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_out_of_the_allocation_is_seen_through() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("alloc");
        fs::create_dir_all(root.join("web/local")).unwrap();
        symlink("/etc", root.join("web/local/out")).unwrap();
        assert!(inside(&root, &root.join("web/local/data")));
        assert!(!inside(&root, &root.join("web/local/out")));
        assert!(!inside(&root, &root.join("web/local/out/new")));
        assert!(!inside(&root, Path::new("/etc/passwd")));
    }

    #[test]
    fn dots_are_resolved_by_text() {
        assert_eq!(clean(Path::new("/a/./b/../../../c")), Path::new("/c"));
    }
}
