//! Network namespaces: the one thing that goes both ways.

use nomad_ipvs_proto::driver as wire;
use nomad_ipvs_proto::driver::network_isolation_spec::NetworkIsolationMode;
use prost::UnknownEnumValue;

use crate::value::{AllocNetwork, HostsConfig, NetworkIsolationSpec, NetworkMode};

impl From<NetworkMode> for i32 {
    fn from(mode: NetworkMode) -> Self {
        let mode = match mode {
            NetworkMode::Host => NetworkIsolationMode::Host,
            NetworkMode::Group => NetworkIsolationMode::Group,
            NetworkMode::Task => NetworkIsolationMode::Task,
            NetworkMode::None => NetworkIsolationMode::None,
        };
        mode.into()
    }
}

impl From<NetworkIsolationSpec> for wire::NetworkIsolationSpec {
    fn from(spec: NetworkIsolationSpec) -> Self {
        Self {
            mode: spec.mode.into(),
            path: spec.path,
            labels: spec.labels,
            hosts_config: spec.hosts_config.map(|hosts| wire::HostsConfig {
                hostname: hosts.hostname,
                address: hosts.address,
            }),
        }
    }
}

/// A mode that this crate does not know is an error.
impl TryFrom<wire::NetworkIsolationSpec> for NetworkIsolationSpec {
    type Error = UnknownEnumValue;

    fn try_from(spec: wire::NetworkIsolationSpec) -> Result<Self, UnknownEnumValue> {
        let mode = match NetworkIsolationMode::try_from(spec.mode)? {
            NetworkIsolationMode::Host => NetworkMode::Host,
            NetworkIsolationMode::Group => NetworkMode::Group,
            NetworkIsolationMode::Task => NetworkMode::Task,
            NetworkIsolationMode::None => NetworkMode::None,
        };
        Ok(Self {
            mode,
            path: spec.path,
            labels: spec.labels,
            hosts_config: spec.hosts_config.map(|hosts| HostsConfig {
                hostname: hosts.hostname,
                address: hosts.address,
            }),
        })
    }
}

impl From<AllocNetwork> for wire::CreateNetworkResponse {
    fn from(network: AllocNetwork) -> Self {
        let (spec, created) = match network {
            AllocNetwork::New(spec) => (spec, true),
            AllocNetwork::Existing(spec) => (spec, false),
        };
        Self {
            isolation_spec: Some(spec.into()),
            created,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn a_network_isolation_spec_comes_back_as_it_was_and_an_unknown_mode_is_refused() {
        for mode in [
            NetworkMode::Host,
            NetworkMode::Group,
            NetworkMode::Task,
            NetworkMode::None,
        ] {
            let spec = NetworkIsolationSpec {
                mode,
                path: "/run/netns/a".into(),
                labels: HashMap::from([("key".into(), "value".into())]),
                hosts_config: Some(HostsConfig {
                    hostname: "web".into(),
                    address: "172.26.64.2".into(),
                }),
            };
            let message = wire::NetworkIsolationSpec::from(spec.clone());
            assert_eq!(NetworkIsolationSpec::try_from(message), Ok(spec));
        }
        let message = wire::NetworkIsolationSpec {
            mode: 4,
            ..wire::NetworkIsolationSpec::default()
        };
        assert_eq!(
            NetworkIsolationSpec::try_from(message),
            Err(UnknownEnumValue(4))
        );
    }
}
