//! A task's `config { … }` block: the built-in driver's options, by name and type, and `drain`.
//!
//! Every option is either mapped in [`crate::spec`] or, when it is set, refused by name before anything was done
//! ([`TaskOptions::refusals`]): an option never does nothing silently.

use std::collections::BTreeMap;

use nomad_driver_sdk::options;
use nomad_driver_sdk::options::FreeBlock;

use super::Logging;

options! {
    pub struct TaskOptions {
        pub image: String => required,
        pub advertise_ipv6_address: bool,
        pub args: Vec<String>,
        pub auth: Option<Auth>,
        /// Nothing to soften: credentials come from the task or not at all.
        pub auth_soft_fail: bool,
        pub cap_add: Vec<String>,
        pub cap_drop: Vec<String>,
        pub cgroupns: String,
        pub command: String,
        pub container_exists_attempts: Option<u32>,
        pub cpu_cfs_period: Option<i64>,
        pub cpu_hard_limit: bool,
        pub cpuset_cpus: String,
        pub devices: Vec<Device>,
        pub dns_servers: Vec<String>,
        /// Not of the built-in driver: how long a stop waits until load balancers have drained this task.
        pub drain: String,
        pub dns_search_domains: Vec<String>,
        pub dns_options: Vec<String>,
        pub entrypoint: Vec<String>,
        pub extra_hosts: Vec<String>,
        pub force_pull: bool,
        pub group_add: Vec<String>,
        pub healthchecks: Option<Healthchecks>,
        pub hostname: String,
        pub image_pull_timeout: String,
        pub init: bool,
        pub interactive: bool,
        pub ipc_mode: String,
        pub pid_mode: String,
        pub uts_mode: String,
        pub userns_mode: String,
        pub ipv4_address: String,
        pub ipv6_address: String,
        pub isolation: String,
        pub labels: BTreeMap<String, String>,
        pub load: String,
        pub logging: Option<TaskLogging>,
        pub mac_address: String,
        pub memory_hard_limit: i64,
        pub mount: Vec<Mount>,
        pub mounts: Vec<Mount>,
        pub network_aliases: Vec<String>,
        pub network_mode: String,
        pub oom_score_adj: i64,
        pub pids_limit: i64,
        pub port_map: BTreeMap<String, u16>,
        pub ports: Vec<String>,
        pub privileged: bool,
        pub readonly_rootfs: bool,
        pub runtime: String,
        pub security_opt: Vec<String>,
        pub shm_size: i64,
        pub storage_opt: FreeBlock,
        pub sysctl: BTreeMap<String, String>,
        pub tty: bool,
        pub ulimit: BTreeMap<String, String>,
        pub volumes: Vec<String>,
        pub volume_driver: String,
        pub work_dir: String,
    }

    pub struct Auth {
        pub username: String,
        pub password: String,
        pub email: String,
        pub server_address: String,
    }

    pub struct Device {
        pub host_path: String,
        pub container_path: String,
        pub cgroup_permissions: String,
    }

    #[derive(Copy)]
    pub struct Healthchecks {
        pub disable: bool,
    }

    /// `type` and `driver` mean the same; `type` wins.
    pub struct TaskLogging {
        pub r#type: String,
        pub driver: String,
        pub config: BTreeMap<String, String>,
    }

    pub struct Mount {
        pub r#type: String => or("\"volume\""),
        pub target: String,
        pub source: String,
        pub readonly: bool,
        pub bind_options: Option<BindOptions>,
        pub tmpfs_options: Option<TmpfsOptions>,
        pub volume_options: Option<VolumeOptions>,
    }

    pub struct BindOptions {
        pub propagation: String,
    }

    /// `size` in bytes, `mode` the permission bits.
    #[derive(Copy)]
    pub struct TmpfsOptions {
        pub size: i64,
        pub mode: i64,
    }

    pub struct VolumeOptions {
        pub no_copy: bool,
        pub labels: BTreeMap<String, String>,
        pub driver_config: Option<VolumeDriver>,
    }

    pub struct VolumeDriver {
        pub name: String,
        pub options: BTreeMap<String, String>,
    }
}

impl TaskOptions {
    /// Options that are set and that this driver does not have.
    pub fn refusals(&self) -> Vec<&'static str> {
        let set = [
            ("cpuset_cpus", !self.cpuset_cpus.is_empty()),
            ("isolation", !self.isolation.is_empty()),
            ("load", !self.load.is_empty()),
        ];
        set.into_iter()
            .filter(|(_, set)| *set)
            .map(|(name, _)| name)
            .collect()
    }

    /// Docker's log driver and its options, unless the task leaves both to the plugin's configuration.
    pub fn log_config(&self) -> Option<Logging> {
        let logging = self.logging.as_ref()?;
        let r#type = if logging.r#type.is_empty() {
            &logging.driver
        } else {
            &logging.r#type
        };
        let is_set = !r#type.is_empty() || !logging.config.is_empty();
        is_set.then(|| Logging {
            r#type: r#type.clone(),
            config: logging.config.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use nomad_driver_sdk::cty;
    use nomad_driver_sdk::options::Options;
    use rmpv::Value;

    use super::*;

    fn decode(pairs: &[(&str, Value)]) -> Result<TaskOptions, cty::CtyError> {
        let value = Value::Map(
            pairs
                .iter()
                .map(|(key, value)| ((*key).into(), value.clone()))
                .collect(),
        );
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, &value).unwrap();
        cty::from_slice(&bytes)
    }

    #[test]
    fn every_option_of_the_schema_is_known_to_the_decoder() {
        for option in TaskOptions::schema().options() {
            assert!(
                decode(&[(option.name(), Value::Ext(1, vec![1]))]).is_err(),
                "{}",
                option.name()
            );
        }
    }

    #[test]
    fn options_that_are_not_there_are_refused_by_name() {
        let options = decode(&[
            ("image", "busybox:1".into()),
            ("load", "image.tar".into()),
            ("tty", true.into()),
        ])
        .unwrap();
        assert_eq!(options.refusals(), ["load"]);
        assert!(TaskOptions::default().refusals().is_empty());
    }

    #[test]
    fn the_log_type_beats_the_log_driver_and_nothing_set_is_left_to_the_plugin() {
        let logging = |r#type: &str, driver: &str| {
            let logging = TaskLogging {
                r#type: r#type.into(),
                driver: driver.into(),
                config: BTreeMap::new(),
            };
            TaskOptions {
                logging: Some(logging),
                ..TaskOptions::default()
            }
            .log_config()
        };
        assert_eq!(logging("gelf", "syslog").unwrap().r#type, "gelf");
        assert_eq!(logging("", "syslog").unwrap().r#type, "syslog");
        assert_eq!(logging("", ""), None);
    }
}
