//! Docker's API through bollard: every call with a time limit of its own, every failure in the words of [`EngineError`].
//!
//! This file has the driver's calls; `connection` knows how to reach the engine.

mod connection;
mod convert;
mod entries;
mod frames;
mod mac;
mod raw;
mod tls;
mod transport;

use std::time::Duration;

use bollard::auth::DockerCredentials;
use bollard::errors::Error;
use bollard::exec::{CreateExecOptions, ResizeExecOptions};
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptionsBuilder, KillContainerOptionsBuilder,
    ListContainersOptionsBuilder, RemoveContainerOptionsBuilder, StatsOptionsBuilder,
    StopContainerOptionsBuilder, WaitContainerOptionsBuilder,
};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use serde_json::json;
use tokio::sync::mpsc;

use super::{
    Chunk, Command, CommandId, CommandIo, CommandState, Container, ContainerEngine, ContainerId,
    Credentials, EngineError, EngineFacts, History, Layer, ListEntry, Output, Sample,
};
use frames::{Form, FrameError, Piece};

pub use connection::DockerEngine;
#[cfg(any(test, fuzzing))]
pub(crate) use frames::fuzz as fuzz_frames;

/// The limit for calls that only read or flip a state.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// The limit for calls that make the engine work: create, start, remove.
const CHANGE_TIMEOUT: Duration = Duration::from_mins(1);
/// The limit for the first line of a stored log.
const FIRST_LINE_TIMEOUT: Duration = Duration::from_secs(2);
/// Both 304 (it is not running anyway) and 404 of a stop are what was wanted.
fn accept_absence(answer: Result<(), EngineError>) -> Result<(), EngineError> {
    match answer {
        Err(EngineError::NotFound(_)) => Ok(()),
        other => other,
    }
}

fn output(pieces: impl Stream<Item = Result<Piece, FrameError>> + Send + 'static) -> Output {
    let chunks = pieces.map_ok(|Piece { source, bytes, .. }| Chunk { source, bytes });
    chunks.map_err(EngineError::from).boxed()
}

impl DockerEngine {
    /// In which form a container's output comes. Only the container says so.
    async fn form(&self, id: &ContainerId) -> Result<Form, EngineError> {
        Ok(Form::of(self.inspect(&id.0).await?.tty))
    }
}

impl ContainerEngine for DockerEngine {
    async fn facts(&self) -> Result<EngineFacts, EngineError> {
        let version = self
            .call("version", READ_TIMEOUT, |docker| async move {
                docker.version().await
            })
            .await?;
        let info = self
            .call(
                "info",
                READ_TIMEOUT,
                |docker| async move { docker.info().await },
            )
            .await?;
        let bridge = self
            .call("network", READ_TIMEOUT, |docker| async move {
                docker.inspect_network("bridge", None).await
            })
            .await;
        Ok(convert::facts(version, info, bridge.ok()))
    }

    async fn find_image(&self, reference: &str) -> Result<String, EngineError> {
        let image = self
            .call("image", READ_TIMEOUT, |docker| async move {
                docker.inspect_image(reference).await
            })
            .await?;
        image
            .id
            .ok_or_else(|| EngineError::NotFound(reference.to_owned()))
    }

    async fn pull(
        &self,
        reference: &str,
        credentials: Option<Credentials>,
        lines: mpsc::Sender<Option<Layer>>,
    ) -> Result<(), EngineError> {
        let options = CreateImageOptionsBuilder::new()
            .from_image(reference)
            .build();
        let credentials = credentials.map(|credentials| DockerCredentials {
            username: Some(credentials.username),
            password: Some(credentials.password),
            serveraddress: Some(credentials.server).filter(|server| !server.is_empty()),
            ..DockerCredentials::default()
        });
        let mut answer = self
            .api()
            .await?
            .create_image(Some(options), None, credentials);
        while let Some(mut line) = answer.try_next().await.map_err(convert::error)? {
            if let Some(error) = line.error_detail.take().and_then(|detail| detail.message) {
                return Err(EngineError::Refusal(error));
            }
            // A receiver that is behind misses a line of progress, nothing else.
            let _ = lines.try_send(convert::layer(line));
        }
        Ok(())
    }

    async fn create(
        &self,
        name: &str,
        body: ContainerCreateBody,
    ) -> Result<ContainerId, EngineError> {
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        let creation = self
            .call("create", CHANGE_TIMEOUT, |docker| async move {
                let docker = mac::with_mac_address(docker, &body)?;
                docker.create_container(Some(options), body).await
            })
            .await?;
        Ok(ContainerId(creation.id))
    }

    async fn start(&self, id: &ContainerId) -> Result<(), EngineError> {
        self.call("start", CHANGE_TIMEOUT, |docker| async move {
            docker.start_container(&id.0, None).await
        })
        .await
    }

    async fn inspect(&self, id: &str) -> Result<Container, EngineError> {
        let answer = self
            .call("inspect", READ_TIMEOUT, |docker| async move {
                docker.inspect_container(id, None).await
            })
            .await?;
        convert::container(answer).ok_or_else(|| {
            EngineError::Refusal(format!(
                "the engine's answer about container {id} makes no sense"
            ))
        })
    }

    async fn wait(&self, id: &ContainerId) -> Result<i64, EngineError> {
        let options = WaitContainerOptionsBuilder::new()
            .condition("not-running")
            .build();
        match self
            .api()
            .await?
            .wait_container(&id.0, Some(options))
            .try_next()
            .await
        {
            Ok(Some(answer)) => Ok(answer.status_code),
            Ok(None) => Err(EngineError::Unreachable(
                "the wait ended without an answer".to_owned(),
            )),
            // bollard's word for an exit code other than 0.
            Err(Error::DockerContainerWaitError { code, .. }) => Ok(code),
            Err(error) => Err(convert::error(error)),
        }
    }

    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<(), EngineError> {
        let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::new().t(seconds).build();
        accept_absence(
            self.call(
                "stop",
                grace.saturating_add(CHANGE_TIMEOUT),
                |docker| async move { docker.stop_container(&id.0, Some(options)).await },
            )
            .await,
        )
    }

    async fn kill(&self, id: &ContainerId, signal: &str) -> Result<(), EngineError> {
        let options = KillContainerOptionsBuilder::new().signal(signal).build();
        self.call("kill", READ_TIMEOUT, |docker| async move {
            docker.kill_container(&id.0, Some(options)).await
        })
        .await
    }

    async fn remove(&self, id: &ContainerId) -> Result<(), EngineError> {
        let options = RemoveContainerOptionsBuilder::new()
            .force(true)
            .v(true)
            .build();
        accept_absence(
            self.call("remove", CHANGE_TIMEOUT, |docker| async move {
                docker.remove_container(&id.0, Some(options)).await
            })
            .await,
        )
    }

    async fn attach(&self, id: &ContainerId) -> Result<Output, EngineError> {
        let form = self.form(id).await?;
        let path = format!("/containers/{id}/attach?stream=1&stdout=1&stderr=1");
        let connection = self
            .call("attach", READ_TIMEOUT, |docker| async move {
                raw::hijack(
                    &self.transport,
                    &docker.client_version(),
                    &path,
                    String::new(),
                )
                .await
            })
            .await?;
        // Its write half lives as long as the stream: closing it makes the engine close ours.
        Ok(output(raw::pieces(form, connection)))
    }

    async fn history(
        &self,
        id: &ContainerId,
        since: i32,
        follow: bool,
    ) -> Result<History, EngineError> {
        let form = self.form(id).await?;
        let follow_word = u8::from(follow);
        let path = format!(
            "/containers/{id}/logs?stdout=1&stderr=1&timestamps=1&follow={follow_word}&since={since}"
        );
        let (transport, version) = (self.transport.clone(), self.api().await?.client_version());
        let open = async move {
            let body = raw::download(&transport, &version, &path).await;
            let body = body.map_err(convert::error)?;
            Ok::<_, EngineError>(entries::entries(form, raw::pieces(form, body)))
        };
        let mut lines = stream::once(open).try_flatten().boxed();
        // The first item tells whether the log can be read at all; without one the answer is a quiet container's.
        let first = match tokio::time::timeout(FIRST_LINE_TIMEOUT, lines.next()).await {
            Ok(Some(Err(error))) => return Err(error),
            Ok(Some(Ok(line))) => Some(line),
            Ok(None) => return Ok(stream::empty().boxed()),
            Err(_) if follow => None,
            Err(_) => {
                return Err(EngineError::Timeout {
                    operation: "logs",
                    after: FIRST_LINE_TIMEOUT,
                });
            }
        };
        Ok(stream::iter(first.map(Ok)).chain(lines).boxed())
    }

    async fn exec(&self, id: &ContainerId, command: Command) -> Result<CommandIo, EngineError> {
        let form = Form::of(command.tty);
        let options = CreateExecOptions {
            attach_stdin: Some(command.stdin),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(command.tty),
            cmd: Some(command.words),
            ..CreateExecOptions::default()
        };
        let creation = self
            .call("exec", READ_TIMEOUT, |docker| async move {
                docker.create_exec(&id.0, options).await
            })
            .await?;
        let path = format!("/exec/{}/start", creation.id);
        let body = json!({ "Detach": false, "Tty": command.tty }).to_string();
        let connection = self
            .call("exec", READ_TIMEOUT, |docker| async move {
                raw::hijack(&self.transport, &docker.client_version(), &path, body).await
            })
            .await?;
        let (from, input) = tokio::io::split(connection);
        Ok(CommandIo {
            id: CommandId(creation.id),
            output: output(raw::pieces(form, from)),
            input: Box::pin(input),
        })
    }

    async fn exec_state(&self, id: &CommandId) -> Result<CommandState, EngineError> {
        let answer = self
            .call("exec", READ_TIMEOUT, |docker| async move {
                docker.inspect_exec(&id.0).await
            })
            .await?;
        let pid = answer.pid.and_then(|pid| i32::try_from(pid).ok());
        Ok(match answer.exit_code {
            Some(code) if answer.running == Some(false) => CommandState::Exit { code },
            _ => CommandState::Running {
                pid: pid.filter(|pid| *pid > 0),
            },
        })
    }

    async fn resize(&self, id: &CommandId, height: u16, width: u16) -> Result<(), EngineError> {
        let options = ResizeExecOptions { height, width };
        self.call("resize", READ_TIMEOUT, |docker| async move {
            docker.resize_exec(&id.0, options).await
        })
        .await
    }

    async fn sample(&self, id: &ContainerId) -> Result<Sample, EngineError> {
        let options = StatsOptionsBuilder::new()
            .stream(false)
            .one_shot(true)
            .build();
        let stats = self
            .call("stats", READ_TIMEOUT, |docker| async move {
                docker.stats(&id.0, Some(options)).try_next().await
            })
            .await?;
        stats
            .map(convert::sample)
            .ok_or_else(|| EngineError::NotFound(id.0.clone()))
    }

    async fn list_running(&self, label: &str, value: &str) -> Result<Vec<ListEntry>, EngineError> {
        let filters =
            std::collections::HashMap::from([("label", vec![format!("{label}={value}")])]);
        let options = ListContainersOptionsBuilder::new()
            .filters(&filters)
            .build();
        let answer = self
            .call("list", READ_TIMEOUT, |docker| async move {
                docker.list_containers(Some(options)).await
            })
            .await?;
        Ok(answer.into_iter().filter_map(convert::list_entry).collect())
    }
}
