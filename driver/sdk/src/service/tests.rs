//! A driver that makes networks, called through the codecs of both sides.

use std::collections::HashMap;
use std::sync::Mutex;

use nomad_ipvs_proto::driver::driver_client::DriverClient;
use nomad_ipvs_proto::driver::driver_server::DriverServer;
use nomad_ipvs_proto::driver::network_isolation_spec::NetworkIsolationMode;
use nomad_ipvs_proto::driver::{NetworkIsolationSpec as WireSpec, TaskConfig, TaskHandle};
use tokio::sync::mpsc;
use tonic::Code;

use super::*;
use crate::NomadDriverConfig;
use crate::error::DriverError;
use crate::hclspec::{Spec, object};
use crate::value::{
    AllocNetwork, Capabilities, ExecInput, ExecOutput, ExecRequest, ExecResult, Exit, Fingerprint,
    FsIsolation, NetworkIsolationSpec, NetworkMode, TaskEvent, TaskStart, TaskStats, TaskStatus,
};

/// Keeps the namespaces that it made, by allocation.
#[derive(Debug, Default)]
struct NetworkDriver {
    networks: Mutex<HashMap<String, NetworkIsolationSpec>>,
}

fn unsupported<T>() -> Result<T, DriverError> {
    Err(DriverError::unsupported("running a task"))
}

impl TaskDriver for NetworkDriver {
    fn config_schema(&self) -> Spec {
        object([])
    }

    fn set_config(&self, _: &[u8], _: Option<NomadDriverConfig>) -> Result<(), DriverError> {
        Ok(())
    }

    fn task_config_schema(&self) -> Spec {
        object([])
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            send_signals: false,
            exec: false,
            isolation: FsIsolation::None,
            network_modes: vec![NetworkMode::Group],
            must_create_network: true,
            disable_log_collection: false,
        }
    }

    fn fingerprint(&self) -> impl Stream<Item = Fingerprint> + Send + 'static {
        stream::empty()
    }

    fn task_events(&self) -> impl Stream<Item = TaskEvent> + Send + 'static {
        stream::empty()
    }

    async fn create_network(
        &self,
        alloc_id: &str,
        hostname: Option<&str>,
    ) -> Result<AllocNetwork, DriverError> {
        let mut networks = self.networks.lock().unwrap();
        if let Some(spec) = networks.get(alloc_id) {
            return Ok(AllocNetwork::Existing(spec.clone()));
        }
        let labels = hostname.map(|name| ("docker_sandbox_hostname".to_owned(), name.to_owned()));
        let spec = NetworkIsolationSpec {
            mode: NetworkMode::Group,
            path: format!("/run/netns/{alloc_id}"),
            labels: labels.into_iter().collect(),
            hosts_config: None,
        };
        networks.insert(alloc_id.to_owned(), spec.clone());
        Ok(AllocNetwork::New(spec))
    }

    async fn destroy_network(
        &self,
        alloc_id: &str,
        spec: NetworkIsolationSpec,
    ) -> Result<(), DriverError> {
        match self.networks.lock().unwrap().remove(alloc_id) {
            Some(network) if network == spec => Ok(()),
            network => Err(DriverError::new(format!("{network:?} is not {spec:?}"))),
        }
    }

    async fn start_task(&self, _: TaskConfig) -> Result<TaskStart, DriverError> {
        unsupported()
    }

    async fn recover_task(&self, _: TaskHandle) -> Result<(), DriverError> {
        unsupported()
    }

    async fn wait_task(&self, _: &str) -> Result<Exit, DriverError> {
        unsupported()
    }

    async fn stop_task(&self, _: &str, _: Duration, _: Option<&str>) -> Result<(), DriverError> {
        unsupported()
    }

    async fn destroy_task(&self, _: &str, _: bool) -> Result<(), DriverError> {
        unsupported()
    }

    async fn inspect_task(&self, _: &str) -> Result<TaskStatus, DriverError> {
        unsupported()
    }

    fn task_stats(
        &self,
        _: &str,
        _: Duration,
    ) -> Result<impl Stream<Item = TaskStats> + Send + 'static, DriverError> {
        unsupported::<stream::Empty<TaskStats>>()
    }

    async fn signal_task(&self, _: &str, _: &str) -> Result<(), DriverError> {
        unsupported()
    }

    async fn exec_task(
        &self,
        _: &str,
        _: Vec<String>,
        _: Duration,
    ) -> Result<ExecResult, DriverError> {
        unsupported()
    }

    async fn exec_task_streaming(
        &self,
        _: ExecRequest,
        _: mpsc::Receiver<ExecInput>,
        _: mpsc::Sender<ExecOutput>,
    ) -> Result<Exit, DriverError> {
        unsupported()
    }
}

fn client() -> DriverClient<DriverServer<Service<NetworkDriver>>> {
    DriverClient::new(DriverServer::new(Service::new(Arc::default())))
}

#[tokio::test]
async fn a_network_is_new_once_existing_afterwards_and_destroyed_by_its_spec() {
    let mut client = client();
    let request = CreateNetworkRequest {
        alloc_id: "a1".into(),
        hostname: "web".into(),
    };
    let spec = WireSpec {
        mode: NetworkIsolationMode::Group.into(),
        path: "/run/netns/a1".into(),
        labels: HashMap::from([("docker_sandbox_hostname".into(), "web".into())]),
        hosts_config: None,
    };
    for created in [true, false] {
        let response = client.create_network(request.clone()).await.unwrap();
        let expected = CreateNetworkResponse {
            isolation_spec: Some(spec.clone()),
            created,
        };
        assert_eq!(response.into_inner(), expected);
    }
    let request = DestroyNetworkRequest {
        alloc_id: "a1".into(),
        isolation_spec: Some(spec),
    };
    client.destroy_network(request.clone()).await.unwrap();
    let refusal = client.destroy_network(request).await.unwrap_err();
    assert_eq!(refusal.code(), Code::Unknown);
}

#[tokio::test]
async fn no_hostname_is_none_and_a_spec_that_makes_no_sense_does_not_reach_the_driver() {
    let mut client = client();
    let request = CreateNetworkRequest {
        alloc_id: "a1".into(),
        hostname: String::new(),
    };
    let response = client.create_network(request).await.unwrap().into_inner();
    assert!(response.isolation_spec.unwrap().labels.is_empty());
    let unknown = WireSpec {
        mode: 4,
        ..WireSpec::default()
    };
    for isolation_spec in [None, Some(unknown)] {
        let request = DestroyNetworkRequest {
            alloc_id: "a1".into(),
            isolation_spec,
        };
        let refusal = client.destroy_network(request).await.unwrap_err();
        assert_eq!(refusal.code(), Code::InvalidArgument);
    }
}
