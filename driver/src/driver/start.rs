//! StartTask: from what the agent sends to a task that is watched.
//!
//! ```text
//!  options ─▶ container (pure) ─▶ image ─▶ stage ─▶ create ─▶ attach ─▶ start ─▶ watch
//!                                                     └── anything that fails after this removes the container again
//! ```

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bollard::models::ContainerCreateBody;
use nix::sys::signal::Signal;
use nomad_driver_sdk::value::{DriverNetwork, TaskStart};
use nomad_driver_sdk::{DriverError, TaskConfig, cty};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::engine_wait::{ENGINE_POLL_INTERVAL, EngineWait, start_once};
use super::guard::ContainerGuard;
use super::{DockerDriver, neighbour};
use crate::config::options::TaskOptions;
use crate::config::{self, PluginConfig};
use crate::engine::{Container, ContainerEngine, ContainerId, Credentials, EngineError};
use crate::file_work::FileWorkError;
use crate::image::{ImageError, News, Want};
use crate::spec::{self, ContainerSpec, Inputs, SpecError};
use crate::stage::{Place, Stage};
use crate::task::handle::DriverState;
use crate::task::{Parts, Task};

/// A name in use is freed so many times at most, whatever a job asks for.
const NAME_CONFLICT_ATTEMPTS_MAX: u32 = 100;

impl<E: ContainerEngine> DockerDriver<E> {
    pub(super) async fn start(&self, task: TaskConfig) -> Result<TaskStart, DriverError> {
        let duplicate = || DriverError::new(format!("task with ID {:?} already started", task.id));
        let start = self.starts.begin(&task.id).ok_or_else(duplicate)?;
        if self.tasks.contains(&task.id) {
            return Err(duplicate());
        }
        let options: TaskOptions = cty::from_slice(&task.msgpack_driver_config)
            .map_err(|error| DriverError::from_error("failed to decode driver config", &error))?;
        let plugin = self.settings.config();
        let (spec, place) = self.spec(&task, &options, &plugin).await?;
        let drain = self.drain(&options)?;
        let want = want(&options, &plugin)?;
        let engine = self.settings.client()?;
        for remark in &spec.remarks {
            self.events.tell(&task, remark, &[]);
        }
        // Cancel-safe: a pull that is dropped is given up, and nothing was made yet.
        tokio::select! {
            biased;
            () = start.wait_give_up() => return Err(DriverError::new(
                "the task was stopped while its image was fetched: nothing was started",
            )),
            image = self.image(engine.as_ref(), &task, &want) => image?,
        }
        let ContainerSpec {
            mut body, sources, ..
        } = spec;
        if !plugin.allow_privileged {
            neighbour::resolve(engine.as_ref(), &task, &mut body).await?;
        }
        let alloc_dir = PathBuf::from(&task.alloc_dir);
        let mount = move || Stage::mount(&place, &alloc_dir, &sources);
        let stage = self.files.run("mounting of the bind sources", mount).await;
        let stage = stage
            .map_err(|error| DriverError::new(error.to_string()).into_recoverable())?
            .map_err(|error| DriverError::from_error("bind sources", &error))?;
        let attempts = options
            .container_exists_attempts
            .unwrap_or(plugin.name_conflict_attempts)
            .min(NAME_CONFLICT_ATTEMPTS_MAX);
        let creation = create(Arc::clone(&engine), spec::name(&task), body, attempts);
        let mut guard = ContainerGuard::begin(Arc::clone(&engine), stage, creation);
        let id = guard.container().await?;
        match self.run(engine, &task, &options, &id, drain).await {
            Ok(outcome) => {
                guard.keep();
                Ok(outcome)
            }
            Err(error) => {
                guard.discard().await;
                Err(error)
            }
        }
    }

    /// The container as it is to be, and where the engine finds what it binds.
    async fn spec(
        &self,
        task: &TaskConfig,
        options: &TaskOptions,
        plugin: &PluginConfig,
    ) -> Result<(ContainerSpec, Place), DriverError> {
        let refusal = |error: SpecError| {
            DriverError::new(format!(
                "Failed to create container configuration for image {:?}: {error}",
                options.image
            ))
        };
        let late = |error: FileWorkError| DriverError::new(error.to_string()).into_recoverable();
        let profile = match spec::seccomp::path(&options.security_opt).map_err(refusal)? {
            None => None,
            Some(path) => {
                let read = move || spec::seccomp::read(&path);
                let profile = self.files.run("reading of the seccomp profile", read).await;
                Some(profile.map_err(late)?.map_err(refusal)?)
            }
        };
        let stages = self.stages.clone();
        let place = self
            .files
            .run("place for bind sources", move || stages.place());
        let place = place
            .await
            .map_err(late)?
            .map_err(|error| DriverError::from_error("bind sources", &error))?;
        let inputs = Inputs {
            task,
            options,
            plugin,
            agent: &self.settings.agent(),
            driver: &self.name,
            place: &place,
            profile: profile.as_deref(),
        };
        let spec = spec::build(inputs).map_err(refusal)?;
        Ok((spec, place))
    }

    /// Has the image there, also by an engine that is away at first: see [`EngineWait`].
    async fn image(&self, engine: &E, task: &TaskConfig, want: &Want) -> Result<(), ImageError> {
        let wait = EngineWait::begin();
        let tell = |news: News| {
            let message = match news {
                News::Begins => "Downloading image".to_owned(),
                News::Waits => "Waiting for another task that downloads the image".to_owned(),
                News::Progress(progress) => format!("Image download: {progress}"),
            };
            let image = [("image", want.image.as_str())];
            self.events.tell(task, &message, &image);
        };
        loop {
            match self.images.ensure(engine, want, tell).await {
                Err(error) if error.is_engine_away() && wait.goes_on() => {
                    sleep(ENGINE_POLL_INTERVAL).await;
                }
                other => return other.map(drop),
            }
        }
    }

    async fn run(
        &self,
        engine: Arc<E>,
        task: &TaskConfig,
        options: &TaskOptions,
        id: &ContainerId,
        drain: Duration,
    ) -> Result<TaskStart, DriverError> {
        let failure =
            |error: EngineError| recoverable(format!("Failed to start container {id}"), &error);
        let wait = EngineWait::begin();
        let cancel = CancellationToken::new();
        let place = self.pump(&engine, task, id).await;
        let pump = match place
            .map_err(|error| DriverError::from_error("failed to collect the task's log", &error))?
        {
            None => None,
            Some(pump) => {
                let output = wait.ask(|| engine.attach(id)).await.map_err(failure)?;
                Some(tokio::spawn(pump.run(Some(output), cancel.clone())))
            }
        };
        let abandon = cancel.clone().drop_guard();
        start_once(engine.as_ref(), id, &wait)
            .await
            .map_err(failure)?;
        let container = wait.ask(|| engine.inspect(&id.0)).await.map_err(failure)?;
        info!(
            container = id.short(),
            task = task.id,
            pid = container.pid,
            "started container"
        );

        let network = network(&container, options);
        let handle = DriverState {
            container: id.clone(),
            network: network.clone(),
            logger: None,
        }
        .into_handle(task.clone());
        let announcer = self.announcer(task, options);
        announcer.announce(container.pid, network.as_ref()).await;
        let parts = Parts {
            config: task.clone(),
            network: network.clone(),
            announcer,
            drain,
            pump,
            cancel,
        };
        self.tasks.insert(Task::watch(engine, &container, parts));
        abandon.disarm();
        Ok(TaskStart { handle, network })
    }
}

/// The name of a signal, for which people also write `HUP` or `sighup`.
pub(super) fn signal(name: &str) -> Result<&'static str, DriverError> {
    let upper = name.to_ascii_uppercase();
    let full = if upper.starts_with("SIG") {
        upper
    } else {
        format!("SIG{upper}")
    };
    full.parse::<Signal>()
        .map(Signal::as_str)
        .map_err(|_| DriverError::new(format!("invalid signal: {name}")))
}

/// A container of this name belongs to an earlier start of this very task: it makes room.
async fn create<E: ContainerEngine>(
    engine: Arc<E>,
    name: String,
    body: ContainerCreateBody,
    attempts: u32,
) -> Result<ContainerId, DriverError> {
    let failure = |error: &EngineError| recoverable("failed to create container", error);
    let wait = EngineWait::begin();
    for _ in 0..attempts {
        // What an engine that was away has made all the same is found by its name.
        match wait.ask(|| engine.create(&name, body.clone())).await {
            Ok(id) => return Ok(id),
            Err(EngineError::Conflict(_)) => {}
            Err(error) => return Err(failure(&error)),
        }
        match engine.inspect(&name).await {
            Ok(old) => {
                info!(
                    container = old.id.short(),
                    name, "removing the container of an earlier start"
                );
                engine
                    .remove(&old.id)
                    .await
                    .map_err(|error| failure(&error))?;
            }
            Err(EngineError::NotFound(_)) => {}
            Err(error) => return Err(failure(&error)),
        }
    }
    engine
        .create(&name, body)
        .await
        .map_err(|error| failure(&error))
}

/// Trouble of the engine may pass; what it refuses stays refused.
fn recoverable(context: impl std::fmt::Display, error: &EngineError) -> DriverError {
    let refusal = DriverError::from_error(context, error);
    match error {
        EngineError::Refusal(reason) if !reason.contains("Duplicate mount point") => refusal,
        EngineError::Endpoint { .. } => refusal,
        _ => refusal.into_recoverable(),
    }
}

fn want(options: &TaskOptions, plugin: &PluginConfig) -> Result<Want, DriverError> {
    let limit = if options.image_pull_timeout.is_empty() {
        plugin.image_pull_timeout
    } else {
        config::duration("image_pull_timeout", &options.image_pull_timeout)
            .map_err(|error| DriverError::new(error.to_string()))?
    };
    let auth = options.auth.clone().filter(|auth| {
        !(auth.username.is_empty() && auth.password.is_empty() && auth.server_address.is_empty())
    });
    Ok(Want {
        image: options.image.clone(),
        force: options.force_pull,
        credentials: auth.map(|auth| Credentials {
            username: auth.username,
            password: auth.password,
            server: auth.server_address,
        }),
        limit,
        silence: plugin.pull_activity_timeout,
    })
}

/// The container's own address: its first network that gave it one.
fn network(container: &Container, options: &TaskOptions) -> Option<DriverNetwork> {
    let address = |network: &crate::engine::Network| -> Option<IpAddr> {
        if options.advertise_ipv6_address {
            network.address6
        } else {
            network.address
        }
    };
    let (name, address) = container
        .networks
        .iter()
        .find_map(|network| Some((&network.name, address(network)?)))?;
    Some(DriverNetwork {
        port_map: options
            .port_map
            .iter()
            .map(|(label, port)| (label.clone(), i32::from(*port)))
            .collect(),
        address: address.to_string(),
        auto_advertise: options.advertise_ipv6_address || name != "bridge",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_known_by_all_their_spellings() {
        for name in ["SIGHUP", "sighup", "HUP", "hup"] {
            assert_eq!(signal(name), Ok("SIGHUP"));
        }
        for name in ["", "SIGNOPE", "9", "SIGHUP; reboot"] {
            assert!(signal(name).is_err(), "{name}");
        }
    }
}
