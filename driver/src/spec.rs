//! From a task to the container that runs it. Pure: no engine, no clock, no files of a job's choice.
//!
//! ```text
//!  TaskConfig + TaskOptions + PluginConfig + Agent ──▶ build ──▶ body of Docker's create call, and what it needs of the
//!                                                        │         allocation (for the stage) and remarks for the task's events
//!                                                        ├─ labels, limits, ports, mounts, security
//! ```
//!
//! Every refusal is a sentence for the task's event and names the option.

mod devices;
mod dns;
mod labels;
mod limits;
mod mounts;
mod ports;
pub mod seccomp;
mod security;

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerCreateBody, EndpointIpamConfig, EndpointSettings, HealthConfig, HostConfig,
    HostConfigLogConfig, NetworkingConfig,
};
use nomad_driver_sdk::TaskConfig;

use crate::agent::Agent;
use crate::config::PluginConfig;
use crate::config::options::TaskOptions;
use crate::name::DriverName;
use crate::stage::{BindSource, Place};

pub use limits::cgroup_parent;
pub use ports::{PublishedPort, published_ports};

/// Everything a container is made of.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    pub task: &'a TaskConfig,
    pub options: &'a TaskOptions,
    pub plugin: &'a PluginConfig,
    pub agent: &'a Agent,
    pub driver: &'a DriverName,
    /// Where the sources below the allocation are for the engine.
    pub place: &'a Place,
    /// The content of the seccomp profile that the job names.
    pub profile: Option<&'a str>,
}

/// A container as it is to be.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerSpec {
    pub body: ContainerCreateBody,
    /// What it binds of the allocation, in the order of the place's numbers.
    pub sources: Vec<BindSource>,
    /// What of the job is left out, each a sentence for the task's event.
    pub remarks: Vec<String>,
}

/// Why there is no such container.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error("image name required for docker driver")]
    NoImage,
    #[error("this driver does not have the task option{} {}", if .0.len() == 1 { "" } else { "s" }, .0.join(", "))]
    NotImplemented(Vec<&'static str>),
    #[error("{option}: {reason}")]
    Option {
        option: &'static str,
        reason: String,
    },
    #[error("{0}")]
    Ports(String),
    #[error("the agent sent no resources for this task")]
    NoResources,
}

/// The container's name: the same for every start of a task in an allocation.
pub fn name(task: &TaskConfig) -> String {
    format!("{}-{}", task.name.replace('/', "_"), task.alloc_id)
}

pub fn build(inputs: Inputs<'_>) -> Result<ContainerSpec, SpecError> {
    let Inputs { task, options, .. } = inputs;
    if options.image.is_empty() {
        return Err(SpecError::NoImage);
    }
    let refusals = options.refusals();
    if !refusals.is_empty() {
        return Err(SpecError::NotImplemented(refusals));
    }
    let mode = network_mode(options);
    let published_ports = ports::published_ports(task, options, &mode)?;
    let mut host = HostConfig {
        network_mode: Some(mode.clone()),
        port_bindings: Some(published_ports.bindings()),
        extra_hosts: non_empty(&options.extra_hosts),
        init: options.init.then_some(true),
        group_add: non_empty(&options.group_add),
        log_config: Some(log_config(inputs)),
        oom_score_adj: Some(options.oom_score_adj),
        readonly_rootfs: Some(options.readonly_rootfs),
        shm_size: (options.shm_size > 0).then_some(options.shm_size),
        storage_opt: (!options.storage_opt.0.is_empty())
            .then(|| to_hash_map(&options.storage_opt.0)),
        sysctls: (!options.sysctl.is_empty()).then(|| to_hash_map(&options.sysctl)),
        volume_driver: text(&options.volume_driver),
        ..HostConfig::default()
    };
    let mut remarks = dns::apply(inputs, &mut host);
    limits::apply(inputs, &mut host)?;
    let sources = mounts::apply(inputs, &mut host)?;
    security::apply(inputs, &mut host)?;
    let (labels, label_remarks) = labels::of(inputs);
    remarks.extend(label_remarks);
    let body = ContainerCreateBody {
        image: Some(options.image.trim_start_matches("https://").to_owned()),
        cmd: command(options)?,
        entrypoint: non_empty(&options.entrypoint),
        env: Some(environment(task, options)),
        user: text(&task.user),
        hostname: text(&options.hostname),
        working_dir: text(&options.work_dir),
        tty: Some(options.tty),
        open_stdin: Some(options.interactive),
        labels: Some(labels),
        exposed_ports: Some(published_ports.exposed_ports()),
        healthcheck: options
            .healthchecks
            .is_some_and(|checks| checks.disable)
            .then(|| HealthConfig {
                test: Some(vec!["NONE".to_owned()]),
                ..HealthConfig::default()
            }),
        networking_config: endpoint(options, &mode)?,
        host_config: Some(host),
        ..ContainerCreateBody::default()
    };
    Ok(ContainerSpec {
        body,
        sources,
        remarks,
    })
}

fn network_mode(options: &TaskOptions) -> String {
    text(&options.network_mode).unwrap_or_else(|| "default".to_owned())
}

fn command(options: &TaskOptions) -> Result<Option<Vec<String>>, SpecError> {
    if options.command.trim() != options.command {
        return Err(SpecError::Option {
            option: "command",
            reason: "command contains extra white space".to_owned(),
        });
    }
    let words: Vec<_> = text(&options.command)
        .into_iter()
        .chain(options.args.iter().cloned())
        .collect();
    Ok((!words.is_empty()).then_some(words))
}

/// Sorted, so that equal tasks make equal containers.
fn environment(task: &TaskConfig, options: &TaskOptions) -> Vec<String> {
    let ports = options.port_map.iter().map(|(label, port)| {
        (
            format!("NOMAD_PORT_{}", label.replace(['-', '.'], "_")),
            port.to_string(),
        )
    });
    let variables: BTreeMap<_, _> = task
        .env
        .iter()
        .map(|(key, value)| (key.clone(), value.clone()))
        .chain(ports)
        .collect();
    variables
        .into_iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect()
}

/// The task's own choice, else the plugin's, else the built-in driver's: small files, so that a node's disk is safe.
fn log_config(inputs: Inputs<'_>) -> HostConfigLogConfig {
    let logging = inputs
        .options
        .log_config()
        .or_else(|| inputs.plugin.logging.clone());
    let (typ, config) = if let Some(logging) = logging {
        (logging.r#type, to_hash_map(&logging.config))
    } else {
        let limits = [("max-file", "2"), ("max-size", "2m")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()));
        ("json-file".to_owned(), HashMap::from(limits))
    };
    HostConfigLogConfig {
        typ: text(&typ),
        config: Some(config),
    }
}

fn endpoint(options: &TaskOptions, mode: &str) -> Result<Option<NetworkingConfig>, SpecError> {
    let address = |option, value: &String| match text(value) {
        Some(value) if value.parse::<std::net::IpAddr>().is_err() => Err(SpecError::Option {
            option,
            reason: format!("{value:?} is not an IP address"),
        }),
        other => Ok(other),
    };
    let ipv4 = address("ipv4_address", &options.ipv4_address)?;
    let ipv6 = address("ipv6_address", &options.ipv6_address)?;
    let settings = EndpointSettings {
        aliases: non_empty(&options.network_aliases),
        mac_address: text(&options.mac_address),
        ipam_config: (ipv4.is_some() || ipv6.is_some()).then(|| EndpointIpamConfig {
            ipv4_address: ipv4,
            ipv6_address: ipv6,
            ..EndpointIpamConfig::default()
        }),
        ..EndpointSettings::default()
    };
    let is_set = settings != EndpointSettings::default();
    Ok(is_set.then(|| NetworkingConfig {
        endpoints_config: Some(HashMap::from([(mode.to_owned(), settings)])),
    }))
}

fn text(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}

fn non_empty(list: &[String]) -> Option<Vec<String>> {
    (!list.is_empty()).then(|| list.to_vec())
}

fn to_hash_map(map: &BTreeMap<String, String>) -> HashMap<String, String> {
    map.iter()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests;
