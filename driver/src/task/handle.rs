//! What the agent keeps of a task and gives back after a restart.
//!
//! Our own keys stand beside those of the agent's built-in driver in one msgpack map, so that either can read what the
//! other wrote: it finds `ContainerID` and `DriverNetwork`, and starts a log reader of its own where `ReattachConfig` is nil.

use nomad_driver_sdk::value::DriverNetwork;
use nomad_driver_sdk::{TaskConfig, TaskHandle};
use rmpv::Value;

use crate::engine::ContainerId;

/// The built-in driver's number for its handles.
const HANDLE_VERSION: i32 = 1;
/// `TaskState::Running` on the wire.
const RUNNING_STATE: i32 = 1;

/// The part of a handle that a driver reads back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverState {
    pub container: ContainerId,
    pub network: Option<DriverNetwork>,
    /// The built-in driver's process that reads the container's log.
    pub logger: Option<i32>,
}

#[derive(Debug, thiserror::Error)]
pub enum HandleError {
    #[error("the task's saved state is not msgpack")]
    Msgpack(#[from] rmpv::decode::Error),
    #[error("the task's saved state names no container")]
    NoContainer,
}

impl DriverState {
    pub fn into_handle(self, config: TaskConfig) -> TaskHandle {
        TaskHandle {
            version: HANDLE_VERSION,
            config: Some(config),
            state: RUNNING_STATE,
            driver_state: self.encode(),
        }
    }

    fn encode(self) -> Vec<u8> {
        let network = self.network.map_or(Value::Nil, |network| {
            let ports = network
                .port_map
                .into_iter()
                .map(|(label, port)| (label.into(), port.into()))
                .collect();
            Value::Map(vec![
                ("PortMap".into(), Value::Map(ports)),
                ("IP".into(), network.address.into()),
                ("AutoAdvertise".into(), network.auto_advertise.into()),
            ])
        });
        let map = Value::Map(vec![
            ("ReattachConfig".into(), Value::Nil),
            ("ContainerID".into(), self.container.0.into()),
            ("DriverNetwork".into(), network),
        ]);
        let mut bytes = Vec::new();
        // Writing to a Vec can't fail.
        let _ = rmpv::encode::write_value(&mut bytes, &map);
        bytes
    }

    pub fn decode(mut bytes: &[u8]) -> Result<Self, HandleError> {
        let map = rmpv::decode::read_value(&mut bytes)?;
        let container = field(&map, "ContainerID")
            .and_then(text)
            .filter(|id| !id.is_empty())
            .ok_or(HandleError::NoContainer)?;
        let logger = field(&map, "ReattachConfig")
            .and_then(|config| field(config, "Pid")?.as_i64())
            .and_then(|pid| i32::try_from(pid).ok());
        let network = field(&map, "DriverNetwork")
            .filter(|network| network.is_map())
            .map(|network| DriverNetwork {
                address: field(network, "IP").and_then(text).unwrap_or_default(),
                auto_advertise: field(network, "AutoAdvertise")
                    .and_then(Value::as_bool)
                    .unwrap_or_default(),
                port_map: field(network, "PortMap")
                    .and_then(Value::as_map)
                    .into_iter()
                    .flatten()
                    .filter_map(|(label, port)| {
                        Some((text(label)?, i32::try_from(port.as_i64()?).ok()?))
                    })
                    .collect(),
            });
        Ok(Self {
            container: ContainerId(container),
            network,
            logger,
        })
    }
}

fn field<'a>(map: &'a Value, name: &str) -> Option<&'a Value> {
    map.as_map()?
        .iter()
        .find(|(key, _)| text(key).as_deref() == Some(name))
        .map(|(_, value)| value)
}

/// Go's older msgpack writes strings as raw bytes.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => text.as_str().map(str::to_owned),
        Value::Binary(bytes) => String::from_utf8(bytes.clone()).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn a_handle_comes_back_as_it_was() {
        let network = DriverNetwork {
            port_map: HashMap::from([("www".into(), 8001)]),
            address: "172.17.0.2".into(),
            auto_advertise: false,
        };
        for network in [None, Some(network)] {
            let state = DriverState {
                container: ContainerId("abc".into()),
                network,
                logger: None,
            };
            assert_eq!(DriverState::decode(&state.clone().encode()).unwrap(), state);
        }
    }

    #[test]
    fn a_handle_without_a_container_is_refused() {
        assert!(DriverState::decode(&[]).is_err());
        assert!(matches!(
            DriverState::decode(&[0x80]),
            Err(HandleError::NoContainer)
        ));
        assert!(DriverState::decode(&[0xc1]).is_err());
    }
}
