//! The trait a driver implements. One method per call of Nomad's protocol, in the order of a task's life.
//!
//! Calls for different tasks run at the same time. Calls for one task are mostly serial, but `wait_task` is always open
//! and stats, exec, signal and inspect come beside stop and destroy. The agent sets no deadline and sends no
//! cancellation: a driver bounds its own waits. See `plugins/drivers/driver.go` and `client/allocrunner/taskrunner` of Nomad.

use std::future::Future;
use std::time::Duration;

use futures_util::Stream;
use tokio::sync::mpsc;

use crate::error::DriverError;
use crate::hclspec::Spec;
use crate::value::{
    AllocNetwork, Capabilities, ExecInput, ExecOutput, ExecRequest, ExecResult, Exit, Fingerprint,
    NetworkIsolationSpec, TaskEvent, TaskStart, TaskStats, TaskStatus,
};
use crate::{NomadDriverConfig, TaskConfig, TaskHandle};

/// A task driver.
pub trait TaskDriver: Send + Sync + 'static {
    /// The options of the agent's `plugin { config { … } }` block.
    fn config_schema(&self) -> Spec;

    /// Takes the plugin's configuration ([`crate::cty`]). Called several times and in processes that are thrown away:
    /// fast, no side effects. `agent` is absent when the agent only wants to know whether the configuration is valid.
    fn set_config(
        &self,
        config: &[u8],
        agent: Option<NomadDriverConfig>,
    ) -> Result<(), DriverError>;

    /// The options of a task's `config { … }` block.
    fn task_config_schema(&self) -> Spec;

    fn capabilities(&self) -> Capabilities;

    /// Nomad 2.0.4 and later, after `set_config` or after a restarted agent found this process again.
    fn init(&self) -> Result<(), DriverError> {
        Ok(())
    }

    /// The process is about to go. Tasks stay. At most 1.5 s.
    fn shutdown(&self) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// The first item at once, then whenever something changed or time passed.
    fn fingerprint(&self) -> impl Stream<Item = Fingerprint> + Send + 'static;

    /// Sparse remarks about tasks.
    fn task_events(&self) -> impl Stream<Item = TaskEvent> + Send + 'static;

    /// Makes the network namespace of an allocation before its tasks start. The agent asks a driver only where
    /// [`Capabilities::must_create_network`] is set, and again when it finds the namespace broken. `hostname` is the group's
    /// wish.
    fn create_network(
        &self,
        _alloc_id: &str,
        _hostname: Option<&str>,
    ) -> impl Future<Output = Result<AllocNetwork, DriverError>> + Send {
        async {
            Err(DriverError::unsupported(
                "making the group's network namespace",
            ))
        }
    }

    /// Removes what `create_network` made. The agent does not ask for allocations from before its own restart: their
    /// namespaces are the driver's to find.
    fn destroy_network(
        &self,
        _alloc_id: &str,
        _spec: NetworkIsolationSpec,
    ) -> impl Future<Output = Result<(), DriverError>> + Send {
        async {
            Err(DriverError::unsupported(
                "removing the group's network namespace",
            ))
        }
    }

    fn start_task(
        &self,
        task: TaskConfig,
    ) -> impl Future<Output = Result<TaskStart, DriverError>> + Send;

    /// Takes a task over from an earlier process. A task that is known already, or has ended, is a success; one that is gone
    /// is an error.
    fn recover_task(
        &self,
        handle: TaskHandle,
    ) -> impl Future<Output = Result<(), DriverError>> + Send;

    /// Answers when the task has ended, again and again until it is destroyed.
    fn wait_task(&self, id: &str) -> impl Future<Output = Result<Exit, DriverError>> + Send;

    /// Returns once the task has ended. An unknown task is a success. No `signal`: the task's own way to stop.
    fn stop_task(
        &self,
        id: &str,
        timeout: Duration,
        signal: Option<&str>,
    ) -> impl Future<Output = Result<(), DriverError>> + Send;

    /// Removes what is left of the task. An unknown task is a success.
    fn destroy_task(
        &self,
        id: &str,
        force: bool,
    ) -> impl Future<Output = Result<(), DriverError>> + Send;

    fn inspect_task(
        &self,
        id: &str,
    ) -> impl Future<Output = Result<TaskStatus, DriverError>> + Send;

    /// Samples until the task has ended.
    fn task_stats(
        &self,
        id: &str,
        interval: Duration,
    ) -> Result<impl Stream<Item = TaskStats> + Send + 'static, DriverError>;

    fn signal_task(
        &self,
        id: &str,
        signal: &str,
    ) -> impl Future<Output = Result<(), DriverError>> + Send;

    /// Runs a command inside the task and waits for it, for `timeout` at most.
    fn exec_task(
        &self,
        id: &str,
        command: Vec<String>,
        timeout: Duration,
    ) -> impl Future<Output = Result<ExecResult, DriverError>> + Send;

    /// Runs a command inside the task; all of its output has been sent when this returns.
    fn exec_task_streaming(
        &self,
        request: ExecRequest,
        input: mpsc::Receiver<ExecInput>,
        output: mpsc::Sender<ExecOutput>,
    ) -> impl Future<Output = Result<Exit, DriverError>> + Send;
}
