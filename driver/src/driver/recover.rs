//! RecoverTask: takes a task over that an earlier process, or the agent's built-in driver, started.
//!
//! A container that is gone is an error, and the agent starts the task anew. An engine that does not answer is not:
//! the task is kept, and its watcher asks until it knows. The log is read on from where the files end.

use nomad_driver_sdk::{DriverError, TaskHandle, cty};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{DockerDriver, log_reader};
use crate::config::options::TaskOptions;
use crate::engine::{Container, ContainerEngine, EngineError};
use crate::task::handle::DriverState;
use crate::task::{Parts, Task};

impl<E: ContainerEngine> DockerDriver<E> {
    pub(super) async fn recover(&self, handle: TaskHandle) -> Result<(), DriverError> {
        let config = handle
            .config
            .ok_or_else(|| DriverError::new("the agent sent a task handle without a task"))?;
        if self.tasks.contains(&config.id) {
            return Ok(());
        }
        let state = DriverState::decode(&handle.driver_state).map_err(|error| {
            DriverError::from_error("failed to decode driver task state", &error)
        })?;
        let engine = self.settings.client()?;
        let container = match engine.inspect(&state.container.0).await {
            Ok(container) => container,
            Err(error @ (EngineError::Unreachable(_) | EngineError::Timeout { .. })) => {
                warn!(%error, task = config.id, "the engine does not answer, keeping the task until it does");
                Container::of_id(state.container.clone())
            }
            Err(error) => {
                let context = format!("failed to inspect container for id {:?}", state.container.0);
                return Err(DriverError::from_error(context, &error));
            }
        };
        info!(
            container = container.id.short(),
            task = config.id,
            running = container.is_alive(),
            "recovered task"
        );
        log_reader::end(state.logger, &[&config.stdout_path, &config.stderr_path]);
        // The built-in driver's task may have options that we would refuse: they are history.
        let options: TaskOptions =
            cty::from_slice(&config.msgpack_driver_config).unwrap_or_default();
        let announcer = self.announcer(&config, &options);
        if container.is_alive() {
            let network = state.network.as_ref();
            announcer.announce(container.pid, network).await;
        }
        let cancel = CancellationToken::new();
        let pump = match self.pump(&engine, &config, &container.id).await {
            Ok(pump) => pump.map(|pump| tokio::spawn(pump.run(None, cancel.clone()))),
            // The task itself is as well as before, and whoever spoilt the directory must not end it.
            Err(error) => {
                let error = DriverError::from_error("the task's log is not collected", &error);
                warn!(%error, task = config.id, "recovered without its log");
                self.events.tell(&config, &error.to_string(), &[]);
                None
            }
        };
        let drain = self.drain_or_default(&options);
        let parts = Parts {
            config,
            network: state.network,
            announcer,
            drain,
            pump,
            cancel,
        };
        self.tasks.insert(Task::watch(engine, &container, parts));
        Ok(())
    }
}
