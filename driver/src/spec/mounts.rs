//! The parts of the host that the container sees: the allocation's directories always, anything else by rule.
//!
//! Without `volumes { enabled = true }` a task reaches only what is below its own allocation. Such a path is a
//! [`BindSource`] of the container's [stage](crate::stage): it is checked there, when the container is about to be made.

mod mode;

use std::path::{Component, Path, PathBuf};

use bollard::models::{
    HostConfig, Mount, MountBindOptions, MountBindOptionsPropagationEnum as Propagation,
    MountTmpfsOptions, MountType, MountVolumeOptions, MountVolumeOptionsDriverConfig,
};
use nomad_driver_sdk::TaskConfig;

use super::{Inputs, SpecError, text, to_hash_map};
use crate::config::options;
use crate::stage::{Absence, BindSource, Kind};
use mode::Mode;

/// The folder of an allocation that its tasks share.
const ALLOC_FOLDER: &str = "alloc";

/// Fills in the mounts; what they need of the allocation comes back, in the order of its numbers.
pub(super) fn apply(
    inputs: Inputs<'_>,
    host: &mut HostConfig,
) -> Result<Vec<BindSource>, SpecError> {
    let mut binding = Binding {
        inputs,
        sources: Vec::new(),
        binds: Vec::new(),
        mounts: Vec::new(),
    };
    binding.defaults();
    binding.volumes()?;
    for mount in inputs.options.mount.iter().chain(&inputs.options.mounts) {
        let mount = binding.job_mount(mount)?;
        binding.mounts.push(mount);
    }
    binding
        .mounts
        .extend(inputs.task.mounts.iter().map(|mount| Mount {
            typ: Some(MountType::BIND),
            target: Some(mount.task_path.clone()),
            source: Some(mount.host_path.clone()),
            read_only: Some(mount.readonly),
            bind_options: Some(bind_options(match mount.propagation_mode.as_str() {
                "host-to-task" => Propagation::RSLAVE,
                "bidirectional" => Propagation::RSHARED,
                _ => Propagation::RPRIVATE,
            })),
            ..Mount::default()
        }));
    let Binding {
        sources,
        binds,
        mounts,
        ..
    } = binding;
    host.binds = (!binds.is_empty()).then_some(binds);
    host.mounts = (!mounts.is_empty()).then_some(mounts);
    Ok(sources)
}

/// The directory of one task within its allocation.
fn task_dir(task: &TaskConfig) -> PathBuf {
    Path::new(&task.alloc_dir).join(&task.name)
}

struct Binding<'a> {
    inputs: Inputs<'a>,
    sources: Vec<BindSource>,
    binds: Vec<String>,
    mounts: Vec<Mount>,
}

/// Where a path of a job leads.
enum Location {
    /// Relative to the allocation's directory.
    Below(PathBuf),
    Host(PathBuf),
}

impl Binding<'_> {
    fn defaults(&mut self) {
        let task = self.inputs.task;
        let inside = |variable: &str, usual: &str| {
            task.env
                .get(variable)
                .cloned()
                .unwrap_or_else(|| usual.to_owned())
        };
        let task_folder = Path::new(&task.name);
        let alloc_folder = Path::new(ALLOC_FOLDER);
        let alloc_target = inside("NOMAD_ALLOC_DIR", "/alloc");
        let logs_inside = format!("{}/logs", alloc_target.trim_end_matches('/'));
        // The agent and this driver write the log files as root: a task reads them and changes none.
        let (write, read) = (Mode::default(), Mode::read_only());
        let folders = [
            (alloc_folder.to_owned(), alloc_target, &write),
            (
                task_folder.join("local"),
                inside("NOMAD_TASK_DIR", "/local"),
                &write,
            ),
            (
                task_folder.join("secrets"),
                inside("NOMAD_SECRETS_DIR", "/secrets"),
                &write,
            ),
            (alloc_folder.join("logs"), logs_inside, &read),
        ];
        for (path, target, mode) in folders {
            let source = self.below(path, Kind::Driver);
            self.bind(source, &target, mode.clone());
        }
    }

    fn volumes(&mut self) -> Result<(), SpecError> {
        let Inputs {
            options, plugin, ..
        } = self.inputs;
        if !options.volume_driver.is_empty() && !plugin.volumes_enabled {
            return Err(refusal(
                "volume_driver",
                format!(
                    "volumes are not enabled; cannot use volume driver {:?}",
                    options.volume_driver
                ),
            ));
        }
        for volume in &options.volumes {
            let mut parts = volume.splitn(3, ':');
            let (Some(source), Some(target), mode) = (parts.next(), parts.next(), parts.next())
            else {
                return Err(refusal(
                    "volumes",
                    format!("{volume:?} is not source:target or source:target:mode"),
                ));
            };
            let mode = Mode::parse(mode.unwrap_or_default());
            if !options.volume_driver.is_empty() {
                let name = clean(Path::new(source)).display().to_string();
                self.bind_by_text(&name, target, &mode);
                continue;
            }
            match self.locate("volumes", source)? {
                Location::Host(path) => {
                    self.bind_by_text(&path.display().to_string(), target, &mode);
                }
                Location::Below(path) => {
                    let absence = Absence::Create;
                    let source = self.below(path, Kind::Job { absence });
                    self.bind(source, target, mode);
                }
            }
        }
        Ok(())
    }

    fn job_mount(&mut self, mount: &options::Mount) -> Result<Mount, SpecError> {
        let mut result = Mount {
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
                    value.parse().map_err(|_| refusal("mount", format!("bind_options.propagation: {value:?} is none of Docker's propagation modes")))
                });
                result.typ = Some(MountType::BIND);
                result.source = Some(match self.locate("mount", &mount.source)? {
                    Location::Host(path) => path.display().to_string(),
                    Location::Below(path) => {
                        let absence = Absence::Refuse;
                        self.below(path, Kind::Job { absence })
                    }
                });
                result.bind_options = Some(MountBindOptions {
                    propagation: propagation.transpose()?,
                    ..MountBindOptions::default()
                });
            }
            "tmpfs" => {
                let options = mount.tmpfs_options.unwrap_or_default();
                result.typ = Some(MountType::TMPFS);
                result.tmpfs_options = Some(MountTmpfsOptions {
                    size_bytes: Some(options.size),
                    mode: Some(options.mode),
                    ..MountTmpfsOptions::default()
                });
            }
            "volume" | "" => {
                if !self.inputs.plugin.volumes_enabled {
                    return Err(refusal(
                        "mount",
                        format!(
                            "volumes are not enabled; cannot mount volume: {:?}",
                            mount.source
                        ),
                    ));
                }
                let options = mount.volume_options.clone().unwrap_or_default();
                let driver = options.driver_config.unwrap_or_default();
                result.typ = Some(MountType::VOLUME);
                result.volume_options = Some(MountVolumeOptions {
                    no_copy: Some(options.no_copy),
                    labels: Some(to_hash_map(&options.labels)),
                    driver_config: Some(MountVolumeOptionsDriverConfig {
                        name: text(&driver.name),
                        options: Some(to_hash_map(&driver.options)),
                    }),
                    ..MountVolumeOptions::default()
                });
            }
            other => {
                return Err(refusal(
                    "mount",
                    format!("type {other:?} is none of bind, tmpfs and volume"),
                ));
            }
        }
        Ok(result)
    }

    /// Relative paths start in the task's directory. With volumes enabled a job may have the whole allocation, as it
    /// may have the host.
    fn locate(&self, option: &'static str, source: &str) -> Result<Location, SpecError> {
        let Inputs { task, plugin, .. } = self.inputs;
        let path = clean(&task_dir(task).join(source));
        let inside = path.strip_prefix(clean(Path::new(&task.alloc_dir)));
        match inside {
            Ok(inside) if !is_task_root(inside) => Ok(Location::Below(inside.to_owned())),
            _ if plugin.volumes_enabled => Ok(Location::Host(path)),
            Ok(_) => Err(refusal(
                option,
                format!(
                    "volumes are not enabled; cannot mount {source:?}, which is the directory of the allocation or of a task: what is below is there to be had (local/…, secrets/…, ../alloc/…)"
                ),
            )),
            _ => Err(refusal(
                option,
                format!(
                    "volumes are not enabled; cannot mount host path: {:?} {:?}",
                    source,
                    path.display().to_string()
                ),
            )),
        }
    }

    /// The path for the engine.
    fn below(&mut self, path: PathBuf, kind: Kind) -> String {
        let Inputs { task, place, .. } = self.inputs;
        let engine_path = place.path(self.sources.len(), Path::new(&task.alloc_dir), &path);
        self.sources.push(BindSource { path, kind });
        engine_path.display().to_string()
    }

    /// As a mount wherever that says the same, since the engine makes a directory for a bind whose source it does not see.
    fn bind(&mut self, source: String, target: &str, mode: Mode) {
        match mode {
            Mode::Plain {
                read_only,
                propagation,
            } if self.inputs.plugin.selinux_label.is_empty() => self.mounts.push(Mount {
                typ: Some(MountType::BIND),
                source: Some(source),
                target: text(target),
                read_only: Some(read_only),
                bind_options: Some(bind_options(propagation)),
                ..Mount::default()
            }),
            other => self.bind_by_text(&source, target, &other),
        }
    }

    fn bind_by_text(&mut self, source: &str, target: &str, mode: &Mode) {
        let label = text(&self.inputs.plugin.selinux_label);
        let modes: Vec<_> = mode.text().into_iter().chain(label).collect();
        let mode = if modes.is_empty() { "" } else { ":" };
        self.binds
            .push(format!("{source}:{target}{mode}{}", modes.join(",")));
    }
}

fn bind_options(propagation: Propagation) -> MountBindOptions {
    MountBindOptions {
        propagation: Some(propagation),
        ..MountBindOptions::default()
    }
}

/// The allocation's directory or a task's.
fn is_task_root(inside: &Path) -> bool {
    let mut parts = inside.iter();
    match (parts.next(), parts.next()) {
        (None, _) => true,
        (Some(only), None) => only != ALLOC_FOLDER,
        _ => false,
    }
}

/// Without `.` and `..`, by the text alone.
fn clean(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut result, part| {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                result.pop();
            }
            other => result.push(other),
        }
        result
    })
}

fn refusal(option: &'static str, reason: String) -> SpecError {
    SpecError::Option { option, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_resolved_by_text() {
        assert_eq!(clean(Path::new("/a/./b/../../../c")), Path::new("/c"));
    }
}
