//! go-plugin's own three services. The agent opens the streams and expects them to stay open and silent.

use std::sync::Arc;

use nomad_ipvs_proto::plugin::grpc_broker_server::GrpcBroker;
use nomad_ipvs_proto::plugin::grpc_controller_server::GrpcController;
use nomad_ipvs_proto::plugin::grpc_stdio_server::GrpcStdio;
use nomad_ipvs_proto::plugin::{ConnInfo, Empty, StdioData};
use tokio::sync::Notify;
use tokio_stream::Pending;
use tonic::{Request, Response, Status, Streaming};

/// Asks the process to go.
#[derive(Debug)]
pub(crate) struct Controller {
    shutdown: Arc<Notify>,
}

/// Would carry stdout and stderr; Nomad throws them away.
#[derive(Debug)]
pub(crate) struct Stdio;

/// Would broker further connections; Nomad asks for none.
#[derive(Debug)]
pub(crate) struct Broker;

impl Controller {
    pub(crate) fn new(shutdown: Arc<Notify>) -> Self {
        Self { shutdown }
    }
}

#[tonic::async_trait]
impl GrpcController for Controller {
    async fn shutdown(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        self.shutdown.notify_one();
        Ok(Response::new(Empty {}))
    }
}

#[tonic::async_trait]
impl GrpcStdio for Stdio {
    type StreamStdioStream = Pending<Result<StdioData, Status>>;

    async fn stream_stdio(
        &self,
        _: Request<()>,
    ) -> Result<Response<Self::StreamStdioStream>, Status> {
        Ok(Response::new(tokio_stream::pending()))
    }
}

#[tonic::async_trait]
impl GrpcBroker for Broker {
    type StartStreamStream = Pending<Result<ConnInfo, Status>>;

    async fn start_stream(
        &self,
        _: Request<Streaming<ConnInfo>>,
    ) -> Result<Response<Self::StartStreamStream>, Status> {
        Ok(Response::new(tokio_stream::pending()))
    }
}
