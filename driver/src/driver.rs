//! The task driver: Nomad's calls, one by one, on top of the engine.
//!
//! Holds the settings of the moment, the tasks, and the events on their way. What each step does lives in the modules below it.

mod engine_wait;
mod events;
mod guard;
mod log_reader;
mod neighbour;
mod recover;
mod settings;
mod start;
mod starts;
mod watch;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::Stream;
use nomad_driver_sdk::hclspec::Spec;
use nomad_driver_sdk::options::Options;
use nomad_driver_sdk::value::{
    Capabilities, ExecInput, ExecOutput, ExecRequest, ExecResult, Exit, Fingerprint, FsIsolation,
    NetworkMode, TaskEvent, TaskStart, TaskState, TaskStats, TaskStatus,
};
use nomad_driver_sdk::{DriverError, NomadDriverConfig, TaskConfig, TaskDriver, TaskHandle};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::config::options::TaskOptions;
use crate::config::{self, PluginConfig};
use crate::engine::{ContainerEngine, EngineError};
use crate::file_work::FileWork;
use crate::fingerprint;
use crate::image::Images;
use crate::name::DriverName;
use crate::stage::Stages;
use crate::stats::{self, Sampler};
use crate::task::{Task, Tasks};
use crate::{exec, reap};

use events::Events;
use settings::{Connect, Settings};
use starts::Starts;

/// The limit for the exit to be seen and the log to be drained, once the engine has stopped the container.
const EXIT_TIMEOUT: Duration = Duration::from_secs(35);

/// The driver over an engine; `E` is Docker, or the fake in tests.
pub struct DockerDriver<E> {
    name: DriverName,
    settings: Arc<Settings<E>>,
    tasks: Arc<Tasks>,
    reaper: OnceLock<JoinHandle<()>>,
    images: Images,
    starts: Starts,
    sampler: Sampler,
    events: Events,
    files: FileWork,
    stages: Stages,
}

impl<E: ContainerEngine> DockerDriver<E> {
    /// `connect` makes a client for an endpoint; it is called with each new configuration.
    pub fn new(name: DriverName, connect: impl Connect<E>) -> Self {
        Self {
            name,
            settings: Arc::new(Settings::new(connect)),
            tasks: Arc::default(),
            reaper: OnceLock::new(),
            images: Images::default(),
            starts: Starts::default(),
            sampler: Sampler::default(),
            events: Events::new(),
            files: FileWork::default(),
            stages: Stages::default(),
        }
    }

    /// With another place for bind sources than the machine's usual one.
    #[must_use]
    pub fn with_stages(mut self, stages: Stages) -> Self {
        self.stages = stages;
        self
    }

    fn task(&self, id: &str) -> Result<Arc<Task>, DriverError> {
        self.tasks
            .get(id)
            .ok_or_else(|| DriverError::new(format!("task not found for given id {id:?}")))
    }
}

fn target<'a, E>(engine: &'a E, task: &'a Task) -> exec::Target<'a, E> {
    exec::Target {
        engine,
        container: &task.container,
        limits: &task.commands,
    }
}

impl<E> std::fmt::Debug for DockerDriver<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DockerDriver")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<E: ContainerEngine> TaskDriver for DockerDriver<E> {
    fn config_schema(&self) -> Spec {
        config::schema()
    }

    fn set_config(
        &self,
        bytes: &[u8],
        agent: Option<NomadDriverConfig>,
    ) -> Result<(), DriverError> {
        let config = PluginConfig::from_msgpack(bytes)
            .map_err(|error| DriverError::from_error("plugin configuration", &error))?;
        // The warning comes once, in the process that stays: the others have no agent's settings.
        if agent.is_some() && !config.without_effect.is_empty() {
            warn!(
                options = config.without_effect.join(", "),
                "these plugin options are set and have no effect in this driver"
            );
        }
        self.settings
            .replace(config, agent)
            .map_err(|error| DriverError::from_error("plugin configuration", &error))
    }

    fn task_config_schema(&self) -> Spec {
        TaskOptions::schema()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            send_signals: true,
            exec: true,
            isolation: FsIsolation::Image,
            network_modes: vec![NetworkMode::Host, NetworkMode::Task],
            must_create_network: false,
            disable_log_collection: self.settings.config().disable_log_collection,
        }
    }

    fn fingerprint(&self) -> impl Stream<Item = Fingerprint> + Send + 'static {
        let settings = Arc::clone(&self.settings);
        let current: fingerprint::CurrentEngine<E> =
            Arc::new(move || settings.engine().map(|engine| (engine, settings.config())));
        // The first fingerprint is the first call of the process that stays: older agents never call Init.
        self.reaper.get_or_init(|| {
            let (files, stages) = (self.files.clone(), self.stages.clone());
            tokio::spawn(async move {
                let removal = files.run("removal of earlier mounts", move || stages.clear());
                match removal.await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => warn!(%error, "mounts of earlier starts are left behind"),
                    Err(error) => warn!(%error, "mounts of earlier starts are left behind"),
                }
            });
            tokio::spawn(reap::run(
                self.name.clone(),
                Arc::clone(&current),
                Arc::clone(&self.tasks),
            ))
        });
        fingerprint::stream(self.name.clone(), current, self.files.clone())
    }

    fn task_events(&self) -> impl Stream<Item = TaskEvent> + Send + 'static {
        self.events.listen()
    }

    async fn start_task(&self, task: TaskConfig) -> Result<TaskStart, DriverError> {
        // A large future, and the caller's is one too.
        Box::pin(self.start(task)).await
    }

    async fn recover_task(&self, handle: TaskHandle) -> Result<(), DriverError> {
        self.recover(handle).await
    }

    async fn wait_task(&self, id: &str) -> Result<Exit, DriverError> {
        let task = self.task(id)?;
        let end = task.wait_end().await;
        end.map(|end| end.exit)
            .ok_or_else(|| DriverError::new("the task was destroyed before its exit was known"))
    }

    async fn stop_task(
        &self,
        id: &str,
        timeout: Duration,
        signal: Option<&str>,
    ) -> Result<(), DriverError> {
        self.starts.give_up(id).await;
        let Some(task) = self.tasks.get(id) else {
            return Ok(());
        };
        if task.exit().is_some() {
            return Ok(());
        }
        let engine = self.settings.client()?;
        let container = &task.container;
        if !task.drain.is_zero() {
            let outcome = task.announcer.withdraw(task.drain).await;
            self.events.tell(
                &task.config,
                &format!("Drain before the stop: {outcome}"),
                &[],
            );
        }
        info!(
            container = container.short(),
            task = id,
            signal,
            "stopping task"
        );
        let outcome = match signal {
            None => engine.stop(container, timeout).await,
            Some(signal) => {
                let answer = engine.kill(container, start::signal(signal)?).await;
                match answer {
                    Ok(()) if task.ends_within(timeout).await => Ok(()),
                    // It does not run any more, or is not there: the stop has its end.
                    Err(EngineError::Conflict(_) | EngineError::NotFound(_)) => Ok(()),
                    Ok(()) => engine.stop(container, Duration::ZERO).await,
                    Err(error) => Err(error),
                }
            }
        };
        outcome.map_err(|error| {
            DriverError::from_error(format!("Failed to stop container {container}"), &error)
        })?;
        if task.ends_within(EXIT_TIMEOUT).await {
            Ok(())
        } else {
            Err(DriverError::new(format!(
                "container {container} was told to stop, but its exit was not seen within {} s",
                EXIT_TIMEOUT.as_secs()
            )))
        }
    }

    async fn destroy_task(&self, id: &str, force: bool) -> Result<(), DriverError> {
        self.starts.give_up(id).await;
        let Some(task) = self.tasks.get(id) else {
            return Ok(());
        };
        if task.exit().is_none() && !force {
            return Err(DriverError::new(
                "the task is still running: cannot destroy it without force",
            ));
        }
        let outcome = match (
            self.settings.config().remove_containers,
            self.settings.client(),
        ) {
            (true, Ok(engine)) => engine.remove(&task.container).await,
            (false, Ok(engine)) => engine.stop(&task.container, Duration::ZERO).await,
            (_, Err(error)) => return Err(error),
        };
        // The task is forgotten in any case: the agent does not ask twice, and the next start frees the name.
        self.tasks.remove(id);
        outcome.map_err(|error| {
            DriverError::from_error(
                format!("Failed to remove container {}", task.container),
                &error,
            )
        })
    }

    async fn inspect_task(&self, id: &str) -> Result<TaskStatus, DriverError> {
        let task = self.task(id)?;
        let end = task.exit();
        Ok(TaskStatus {
            id: task.config.id.clone(),
            name: task.config.name.clone(),
            state: if end.is_some() {
                TaskState::Exited
            } else {
                TaskState::Running
            },
            started_at: task.started_at,
            completed_at: end.as_ref().map(|end| end.at),
            exit: end.map(|end| end.exit).unwrap_or_default(),
            attributes: [("container_id".to_owned(), task.container.0.clone())].into(),
            network: task.network.clone(),
        })
    }

    fn task_stats(
        &self,
        id: &str,
        interval: Duration,
    ) -> Result<impl Stream<Item = TaskStats> + Send + 'static, DriverError> {
        let task = self.task(id)?;
        let engine = self.settings.client()?;
        Ok(stats::watch(
            engine,
            self.sampler.clone(),
            &task,
            self.settings.agent().compute,
            interval,
        ))
    }

    async fn signal_task(&self, id: &str, signal: &str) -> Result<(), DriverError> {
        let task = self.task(id)?;
        let answer = self
            .settings
            .client()?
            .kill(&task.container, start::signal(signal)?)
            .await;
        answer.map_err(|error| {
            DriverError::from_error(
                format!("Failed to signal container {}", task.container),
                &error,
            )
        })
    }

    async fn exec_task(
        &self,
        id: &str,
        command: Vec<String>,
        timeout: Duration,
    ) -> Result<ExecResult, DriverError> {
        let task = self.task(id)?;
        let engine = self.settings.client()?;
        exec::run(target(engine.as_ref(), &task), command, timeout).await
    }

    async fn exec_task_streaming(
        &self,
        request: ExecRequest,
        input: mpsc::Receiver<ExecInput>,
        output: mpsc::Sender<ExecOutput>,
    ) -> Result<Exit, DriverError> {
        let task = self.task(&request.task_id)?;
        let engine = self.settings.client()?;
        exec::stream(target(engine.as_ref(), &task), request, input, output).await
    }
}
