//! `BasePlugin`: who we are, what configuration we take. Translation only.

use std::sync::Arc;

use nomad_ipvs_proto::base::base_plugin_server::BasePlugin;
use nomad_ipvs_proto::base::{
    ConfigSchemaRequest, ConfigSchemaResponse, PluginInfoRequest, PluginInfoResponse, PluginType,
    SetConfigRequest, SetConfigResponse,
};
use tonic::{Request, Response, Status};

use crate::driver::TaskDriver;

/// The only version of the driver API there is.
const API_VERSION: &str = "v0.1.0";

/// Who the plugin says it is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The driver's name in job files.
    pub name: String,
    /// `major.minor.patch`; of two drivers of one name the higher version wins.
    pub version: String,
}

#[derive(Debug)]
pub(crate) struct Base<D> {
    identity: Identity,
    driver: Arc<D>,
}

impl<D> Base<D> {
    pub(crate) fn new(identity: Identity, driver: Arc<D>) -> Self {
        Self { identity, driver }
    }
}

#[tonic::async_trait]
impl<D: TaskDriver> BasePlugin for Base<D> {
    async fn plugin_info(
        &self,
        _: Request<PluginInfoRequest>,
    ) -> Result<Response<PluginInfoResponse>, Status> {
        Ok(Response::new(PluginInfoResponse {
            r#type: PluginType::Driver.into(),
            plugin_api_versions: vec![API_VERSION.to_owned()],
            plugin_version: self.identity.version.clone(),
            name: self.identity.name.clone(),
        }))
    }

    async fn config_schema(
        &self,
        _: Request<ConfigSchemaRequest>,
    ) -> Result<Response<ConfigSchemaResponse>, Status> {
        Ok(Response::new(ConfigSchemaResponse {
            spec: Some(self.driver.config_schema().into()),
        }))
    }

    async fn set_config(
        &self,
        request: Request<SetConfigRequest>,
    ) -> Result<Response<SetConfigResponse>, Status> {
        let request = request.into_inner();
        let agent = request.nomad_config.and_then(|config| config.driver);
        self.driver.set_config(&request.msgpack_config, agent)?;
        Ok(Response::new(SetConfigResponse {}))
    }
}
