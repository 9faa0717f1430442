//! Which host ports lead to which container ports. TCP and UDP both, as the built-in driver does.

use std::collections::{BTreeSet, HashMap};

use bollard::models::{PortBinding, PortMap};
use nomad_driver_sdk::TaskConfig;

use super::SpecError;
use crate::config::options::TaskOptions;

/// One published port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedPort {
    pub label: String,
    pub host_ip: String,
    pub host_port: u16,
    pub container_port: u16,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublishedPorts(pub Vec<PublishedPort>);

/// The ports of `task`, in the order they are asked for.
pub fn published_ports(
    task: &TaskConfig,
    options: &TaskOptions,
    network_mode: &str,
) -> Result<PublishedPorts, SpecError> {
    let resources = task.resources.as_ref().ok_or(SpecError::NoResources)?;
    let group = &resources.ports;
    let legacy = resources
        .allocated_resources
        .as_ref()
        .and_then(|resources| resources.networks.first());
    let mut ports = Vec::new();
    if !options.ports.is_empty() && !group.is_empty() {
        for label in &options.ports {
            let port = group.iter().find(|port| port.label == *label);
            let port = port.ok_or_else(|| {
                SpecError::Ports(format!("Port {label:?} not found, check network block"))
            })?;
            ports.push(PublishedPort {
                label: label.clone(),
                host_ip: port.host_ip.clone(),
                host_port: number(label, port.value)?,
                container_port: number(label, if port.to > 0 { port.to } else { port.value })?,
            });
        }
    } else if let Some(network) = legacy {
        for port in network.reserved_ports.iter().chain(&network.dynamic_ports) {
            let host_port = number(&port.label, port.value)?;
            ports.push(PublishedPort {
                label: port.label.clone(),
                host_ip: network.ip.clone(),
                host_port,
                container_port: options
                    .port_map
                    .get(&port.label)
                    .copied()
                    .unwrap_or(host_port),
            });
        }
    } else if !options.port_map.is_empty() {
        return Err(SpecError::Ports(if group.is_empty() {
            "Trying to map ports but no network interface is available".to_owned()
        } else {
            "'port_map' cannot map group network ports, use 'ports' instead".to_owned()
        }));
    } else if let Some(label) = options.ports.first() {
        return Err(SpecError::Ports(format!(
            "Port {label:?} not found, check network block"
        )));
    }
    // The ports of another container's namespace are published where that container is.
    let is_joined = network_mode.starts_with("container:");
    Ok(PublishedPorts(if is_joined { Vec::new() } else { ports }))
}

fn number(label: &str, value: i32) -> Result<u16, SpecError> {
    u16::try_from(value).map_err(|_| {
        SpecError::Ports(format!(
            "port {label:?} is {value}, which is not a port number"
        ))
    })
}

impl PublishedPorts {
    /// Several host addresses for one container port are several bindings of it.
    pub fn bindings(&self) -> PortMap {
        let mut bindings: PortMap = HashMap::new();
        for port in &self.0 {
            let binding = PortBinding {
                host_ip: Some(port.host_ip.clone()),
                host_port: Some(port.host_port.to_string()),
            };
            for protocol in ["tcp", "udp"] {
                let list = bindings
                    .entry(format!("{}/{protocol}", port.container_port))
                    .or_default();
                list.get_or_insert_with(Vec::new).push(binding.clone());
            }
        }
        bindings
    }

    pub fn exposed_ports(&self) -> Vec<String> {
        let ports = self.0.iter().flat_map(|port| {
            ["tcp", "udp"].map(|protocol| format!("{}/{protocol}", port.container_port))
        });
        ports.collect::<BTreeSet<_>>().into_iter().collect()
    }
}
