//! The options of the agent's `plugin` block as they are written: the built-in driver's, by name, type and default,
//! `allow_devices` and `syncer { … }`.
//!
//! The schema knows no defaults: what is unset arrives as nil and is given its value here.

use std::collections::BTreeMap;

use nomad_driver_sdk::options;

use super::ConfigError;

options! {
    pub(super) struct Raw {
        pub(super) endpoint: String,
        pub(super) tls: Option<TlsOptions>,
        pub(super) auth: Option<RegistryAuth>,
        pub(super) extra_labels: Vec<String>,
        pub(super) logging: Option<Logging>,
        pub(super) gc: Gc,
        pub(super) volumes: Volumes,
        pub(super) allow_privileged: bool,
        pub(super) allow_caps: Vec<String> = words("audit_write chown dac_override fowner fsetid kill mknod net_bind_service setfcap setgid setpcap setuid sys_chroot"),
        pub(super) nvidia_runtime: String = "nvidia",
        pub(super) allow_devices: Vec<String> = words("/dev/dri /dev/dri/* /dev/full /dev/fuse /dev/kfd /dev/kvm /dev/net/tun /dev/null /dev/nvidia* /dev/random /dev/snd /dev/snd/* /dev/urandom /dev/zero"),
        pub(super) allow_runtimes: Vec<String> = words("runc nvidia"),
        pub(super) infra_image: String,
        pub(super) infra_image_pull_timeout: String = "5m",
        pub(super) image_pull_timeout: String = "5m",
        pub(super) container_exists_attempts: i64 = 5,
        pub(super) oom_score_adj: i64,
        pub(super) pull_activity_timeout: String = "2m",
        pub(super) pids_limit: i64,
        pub(super) disable_log_collection: bool,
        pub(super) windows_allow_insecure_container_admin: bool,
        pub(super) allowed_modes: AllowedModes,
        pub(super) syncer: Syncer,
    }

    pub(super) struct TlsOptions {
        pub(super) cert: String,
        pub(super) key: String,
        pub(super) ca: String,
    }

    pub(super) struct RegistryAuth {
        config: String,
        helper: String,
    }

    /// Docker's log driver for tasks that name none.
    pub struct Logging {
        pub r#type: String,
        pub config: BTreeMap<String, String>,
    }

    pub(super) struct Gc {
        pub(super) image: bool = true,
        pub(super) image_delay: String = "3m",
        pub(super) container: bool = true,
        pub(super) dangling_containers: DanglingContainers,
    }

    pub(super) struct DanglingContainers {
        pub(super) enabled: bool = true,
        pub(super) period: String = "5m",
        pub(super) creation_grace: String = "5m",
        pub(super) dry_run: bool,
    }

    pub(super) struct Volumes {
        pub(super) enabled: bool,
        pub(super) selinuxlabel: String,
    }

    /// Not of the built-in driver: where the node's syncer listens, and how long a stop waits for its drain.
    pub(super) struct Syncer {
        pub(super) socket: String = "/run/nomad-ipvs/syncer.sock",
        pub(super) drain: String = "0",
        pub(super) drain_max: String = "10m",
    }

    /// Patterns of what tasks may put into `pid_mode` and the like. `*` stands for anything.
    pub struct AllowedModes {
        pub pid: Vec<String>,
        pub ipc: Vec<String>,
        pub userns: Vec<String>,
        pub uts: Vec<String>,
    }
}

impl Raw {
    /// Options that differ from their default and do nothing here.
    pub(super) fn without_effect(&self) -> Vec<&'static str> {
        let default = Self::default();
        let changes = [
            (
                "auth",
                self.auth
                    .as_ref()
                    .is_some_and(|auth| *auth != RegistryAuth::default()),
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
        changes
            .into_iter()
            .filter(|(_, is_changed)| *is_changed)
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
        for (mode, values, is_allowed, expected) in rules {
            if let Some(value) = values.iter().find(|value| !is_allowed(value)) {
                return Err(ConfigError::Mode {
                    mode,
                    value: value.clone(),
                    expected,
                });
            }
        }
        Ok(())
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}
