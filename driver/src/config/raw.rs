//! The plugin configuration as it is written. Defaults are the built-in driver's.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::ConfigError;

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Raw {
    pub(super) endpoint: String,
    pub(super) tls: Option<Tls>,
    pub(super) auth: Option<Auth>,
    pub(super) extra_labels: Vec<String>,
    pub(super) logging: Option<Logging>,
    pub(super) gc: Gc,
    pub(super) volumes: Volumes,
    pub(super) allow_privileged: bool,
    pub(super) allow_caps: Vec<String>,
    pub(super) nvidia_runtime: String,
    pub(super) allow_devices: Vec<String>,
    pub(super) allow_runtimes: Vec<String>,
    pub(super) infra_image: String,
    pub(super) infra_image_pull_timeout: String,
    pub(super) image_pull_timeout: String,
    pub(super) container_exists_attempts: i64,
    pub(super) oom_score_adj: i64,
    pub(super) pull_activity_timeout: String,
    pub(super) pids_limit: i64,
    pub(super) disable_log_collection: bool,
    pub(super) windows_allow_insecure_container_admin: bool,
    pub(super) allowed_modes: AllowedModes,
    pub(super) syncer: Syncer,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Tls {
    pub(super) cert: String,
    pub(super) key: String,
    pub(super) ca: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Auth {
    config: String,
    helper: String,
}

/// Docker's log driver for tasks that name none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Logging {
    pub r#type: String,
    pub config: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Gc {
    pub(super) image: bool,
    pub(super) image_delay: String,
    pub(super) container: bool,
    pub(super) dangling_containers: Dangling,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Dangling {
    pub(super) enabled: bool,
    pub(super) period: String,
    pub(super) creation_grace: String,
    pub(super) dry_run: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Volumes {
    pub(super) enabled: bool,
    pub(super) selinuxlabel: String,
}

/// Not of the built-in driver: where the node's syncer listens, and how long a stop waits for its drain.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Syncer {
    pub(super) socket: String,
    pub(super) drain: String,
    pub(super) drain_max: String,
}

/// Patterns of what tasks may put into `pid_mode` and the like. `*` stands for anything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct AllowedModes {
    pub pid: Vec<String>,
    pub ipc: Vec<String>,
    pub userns: Vec<String>,
    pub uts: Vec<String>,
}

impl Raw {
    /// Options that differ from their default and do nothing here.
    pub(super) fn without_effect(&self) -> Vec<&'static str> {
        let default = Self::default();
        let differs = [
            (
                "auth",
                self.auth
                    .as_ref()
                    .is_some_and(|auth| *auth != Auth::default()),
            ),
            ("gc.image", self.gc.image != default.gc.image),
            (
                "gc.image_delay",
                self.gc.image_delay != default.gc.image_delay,
            ),
            (
                "nvidia_runtime",
                self.nvidia_runtime != default.nvidia_runtime,
            ),
            ("infra_image", self.infra_image != default.infra_image),
            (
                "infra_image_pull_timeout",
                self.infra_image_pull_timeout != default.infra_image_pull_timeout,
            ),
            ("oom_score_adj", self.oom_score_adj != default.oom_score_adj),
            (
                "windows_allow_insecure_container_admin",
                self.windows_allow_insecure_container_admin,
            ),
        ];
        differs
            .into_iter()
            .filter(|(_, differs)| *differs)
            .map(|(name, _)| name)
            .collect()
    }
}

impl AllowedModes {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let host: fn(&str) -> bool = |value| value == "host";
        let pid: fn(&str) -> bool = |value| value == "host" || value.starts_with("container:");
        let ipc: fn(&str) -> bool = |value| {
            ["none", "private", "shareable", "host"].contains(&value)
                || value.starts_with("container:")
        };
        let rules = [
            ("pid", &self.pid, pid, "host and container:*"),
            (
                "ipc",
                &self.ipc,
                ipc,
                "none, private, shareable, host and container:*",
            ),
            ("userns", &self.userns, host, "host"),
            ("uts", &self.uts, host, "host"),
        ];
        for (mode, values, known, wanted) in rules {
            if let Some(value) = values.iter().find(|value| !known(value)) {
                return Err(ConfigError::Mode {
                    mode,
                    value: value.clone(),
                    wanted,
                });
            }
        }
        Ok(())
    }
}

impl Default for Raw {
    fn default() -> Self {
        let devices = "/dev/dri /dev/dri/* /dev/full /dev/fuse /dev/kfd /dev/kvm /dev/net/tun /dev/null /dev/nvidia* /dev/random /dev/snd /dev/snd/* /dev/urandom /dev/zero";
        let caps = "audit_write chown dac_override fowner fsetid kill mknod net_bind_service setfcap setgid setpcap setuid sys_chroot";
        Self {
            endpoint: String::new(),
            tls: None,
            auth: None,
            extra_labels: Vec::new(),
            logging: None,
            gc: Gc::default(),
            volumes: Volumes::default(),
            allow_privileged: false,
            allow_caps: caps.split(' ').map(str::to_owned).collect(),
            nvidia_runtime: "nvidia".to_owned(),
            allow_devices: devices.split(' ').map(str::to_owned).collect(),
            allow_runtimes: vec!["runc".to_owned(), "nvidia".to_owned()],
            infra_image: String::new(),
            infra_image_pull_timeout: "5m".to_owned(),
            image_pull_timeout: "5m".to_owned(),
            container_exists_attempts: 5,
            oom_score_adj: 0,
            pull_activity_timeout: "2m".to_owned(),
            pids_limit: 0,
            disable_log_collection: false,
            windows_allow_insecure_container_admin: false,
            allowed_modes: AllowedModes::default(),
            syncer: Syncer::default(),
        }
    }
}

impl Default for Syncer {
    fn default() -> Self {
        Self {
            socket: "/run/nomad-ipvs/syncer.sock".to_owned(),
            drain: "0".to_owned(),
            drain_max: "10m".to_owned(),
        }
    }
}

impl Default for Gc {
    fn default() -> Self {
        Self {
            image: true,
            image_delay: "3m".to_owned(),
            container: true,
            dangling_containers: Dangling::default(),
        }
    }
}

impl Default for Dangling {
    fn default() -> Self {
        Self {
            enabled: true,
            period: "5m".to_owned(),
            creation_grace: "5m".to_owned(),
            dry_run: false,
        }
    }
}
