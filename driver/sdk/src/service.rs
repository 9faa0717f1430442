//! Nomad's `Driver` service on top of a [`TaskDriver`]. Translation only; what streams commands is in [`exec`].

mod exec;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use nomad_ipvs_proto::driver::driver_server::Driver;
use nomad_ipvs_proto::driver::{
    CapabilitiesRequest, CapabilitiesResponse, CreateNetworkRequest, CreateNetworkResponse,
    DestroyNetworkRequest, DestroyNetworkResponse, DestroyTaskRequest, DestroyTaskResponse,
    DriverTaskEvent, ExecTaskRequest, ExecTaskResponse, ExecTaskStreamingRequest,
    ExecTaskStreamingResponse, FingerprintRequest, FingerprintResponse, InitRequest, InitResponse,
    InspectTaskRequest, InspectTaskResponse, RecoverTaskRequest, RecoverTaskResponse,
    ShutdownRequest, ShutdownResponse, SignalTaskRequest, SignalTaskResponse, StartTaskRequest,
    StartTaskResponse, StopTaskRequest, StopTaskResponse, TaskConfigSchemaRequest,
    TaskConfigSchemaResponse, TaskEventsRequest, TaskStatsRequest, TaskStatsResponse,
    WaitTaskRequest, WaitTaskResponse, start_task_response,
};
use prost::UnknownEnumValue;
use tonic::{Request, Response, Status, Streaming};

use crate::driver::TaskDriver;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[derive(Debug)]
pub(crate) struct Service<D> {
    driver: Arc<D>,
}

impl<D> Service<D> {
    pub(crate) fn new(driver: Arc<D>) -> Self {
        Self { driver }
    }
}

/// The agent re-opens a stream that ends at once and without a pause: these never end.
fn endless<T, W>(items: impl Stream<Item = T> + Send + 'static) -> Answers<W>
where
    T: Into<W> + 'static,
    W: Send + 'static,
{
    Box::pin(items.map(|item| Ok(item.into())).chain(stream::pending()))
}

fn duration(wire: Option<prost_types::Duration>) -> Duration {
    wire.and_then(|duration| Duration::try_from(duration).ok())
        .unwrap_or_default()
}

fn lack(name: &str) -> Status {
    Status::invalid_argument(format!("the agent sent no {name}"))
}

#[tonic::async_trait]
impl<D: TaskDriver> Driver for Service<D> {
    type FingerprintStream = Answers<FingerprintResponse>;
    type TaskStatsStream = Answers<TaskStatsResponse>;
    type TaskEventsStream = Answers<DriverTaskEvent>;
    type ExecTaskStreamingStream = Answers<ExecTaskStreamingResponse>;

    async fn init(&self, _: Request<InitRequest>) -> Result<Response<InitResponse>, Status> {
        self.driver.init()?;
        Ok(Response::new(InitResponse {}))
    }

    async fn task_config_schema(
        &self,
        _: Request<TaskConfigSchemaRequest>,
    ) -> Result<Response<TaskConfigSchemaResponse>, Status> {
        Ok(Response::new(TaskConfigSchemaResponse {
            spec: Some(self.driver.task_config_schema().into()),
        }))
    }

    async fn capabilities(
        &self,
        _: Request<CapabilitiesRequest>,
    ) -> Result<Response<CapabilitiesResponse>, Status> {
        Ok(Response::new(CapabilitiesResponse {
            capabilities: Some(self.driver.capabilities().into()),
        }))
    }

    async fn fingerprint(
        &self,
        _: Request<FingerprintRequest>,
    ) -> Result<Response<Self::FingerprintStream>, Status> {
        Ok(Response::new(endless(self.driver.fingerprint())))
    }

    async fn recover_task(
        &self,
        request: Request<RecoverTaskRequest>,
    ) -> Result<Response<RecoverTaskResponse>, Status> {
        let handle = request
            .into_inner()
            .handle
            .ok_or_else(|| lack("task handle"))?;
        self.driver.recover_task(handle).await?;
        Ok(Response::new(RecoverTaskResponse {}))
    }

    async fn start_task(
        &self,
        request: Request<StartTaskRequest>,
    ) -> Result<Response<StartTaskResponse>, Status> {
        let task = request.into_inner().task.ok_or_else(|| lack("task"))?;
        let start = self.driver.start_task(task).await?;
        Ok(Response::new(StartTaskResponse {
            result: start_task_response::Result::Success.into(),
            driver_error_msg: String::new(),
            handle: Some(start.handle),
            network_override: start.network.map(Into::into),
        }))
    }

    async fn wait_task(
        &self,
        request: Request<WaitTaskRequest>,
    ) -> Result<Response<WaitTaskResponse>, Status> {
        let exit = self.driver.wait_task(&request.into_inner().task_id).await?;
        Ok(Response::new(exit.into()))
    }

    async fn stop_task(
        &self,
        request: Request<StopTaskRequest>,
    ) -> Result<Response<StopTaskResponse>, Status> {
        let request = request.into_inner();
        let signal = Some(request.signal.as_str()).filter(|signal| !signal.is_empty());
        self.driver
            .stop_task(&request.task_id, duration(request.timeout), signal)
            .await?;
        Ok(Response::new(StopTaskResponse {}))
    }

    async fn destroy_task(
        &self,
        request: Request<DestroyTaskRequest>,
    ) -> Result<Response<DestroyTaskResponse>, Status> {
        let request = request.into_inner();
        self.driver
            .destroy_task(&request.task_id, request.force)
            .await?;
        Ok(Response::new(DestroyTaskResponse {}))
    }

    async fn inspect_task(
        &self,
        request: Request<InspectTaskRequest>,
    ) -> Result<Response<InspectTaskResponse>, Status> {
        let status = self
            .driver
            .inspect_task(&request.into_inner().task_id)
            .await?;
        Ok(Response::new(status.into()))
    }

    async fn task_stats(
        &self,
        request: Request<TaskStatsRequest>,
    ) -> Result<Response<Self::TaskStatsStream>, Status> {
        let request = request.into_inner();
        let samples = self
            .driver
            .task_stats(&request.task_id, duration(request.collection_interval))?;
        Ok(Response::new(Box::pin(
            samples.map(|sample| Ok(sample.into())),
        )))
    }

    async fn task_events(
        &self,
        _: Request<TaskEventsRequest>,
    ) -> Result<Response<Self::TaskEventsStream>, Status> {
        Ok(Response::new(endless(self.driver.task_events())))
    }

    async fn shutdown(
        &self,
        _: Request<ShutdownRequest>,
    ) -> Result<Response<ShutdownResponse>, Status> {
        self.driver.shutdown().await;
        Ok(Response::new(ShutdownResponse {}))
    }

    async fn signal_task(
        &self,
        request: Request<SignalTaskRequest>,
    ) -> Result<Response<SignalTaskResponse>, Status> {
        let request = request.into_inner();
        self.driver
            .signal_task(&request.task_id, &request.signal)
            .await?;
        Ok(Response::new(SignalTaskResponse {}))
    }

    async fn exec_task(
        &self,
        request: Request<ExecTaskRequest>,
    ) -> Result<Response<ExecTaskResponse>, Status> {
        let request = request.into_inner();
        let result = self
            .driver
            .exec_task(&request.task_id, request.command, duration(request.timeout))
            .await?;
        Ok(Response::new(ExecTaskResponse {
            stdout: result.stdout,
            stderr: result.stderr,
            result: Some((&result.exit).into()),
        }))
    }

    async fn exec_task_streaming(
        &self,
        request: Request<Streaming<ExecTaskStreamingRequest>>,
    ) -> Result<Response<Self::ExecTaskStreamingStream>, Status> {
        let answers = exec::run(Arc::clone(&self.driver), request.into_inner()).await?;
        Ok(Response::new(answers))
    }

    async fn create_network(
        &self,
        request: Request<CreateNetworkRequest>,
    ) -> Result<Response<CreateNetworkResponse>, Status> {
        let request = request.into_inner();
        let hostname = Some(request.hostname.as_str()).filter(|hostname| !hostname.is_empty());
        let network = self
            .driver
            .create_network(&request.alloc_id, hostname)
            .await?;
        Ok(Response::new(network.into()))
    }

    async fn destroy_network(
        &self,
        request: Request<DestroyNetworkRequest>,
    ) -> Result<Response<DestroyNetworkResponse>, Status> {
        let request = request.into_inner();
        let spec = request
            .isolation_spec
            .ok_or_else(|| lack("network isolation spec"))?;
        let spec = spec.try_into().map_err(|UnknownEnumValue(mode)| {
            Status::invalid_argument(format!("network isolation mode {mode} is unknown here"))
        })?;
        self.driver.destroy_network(&request.alloc_id, spec).await?;
        Ok(Response::new(DestroyNetworkResponse {}))
    }
}

#[cfg(test)]
mod tests;
