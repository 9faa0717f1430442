//! Docker's API through bollard: every call with a time limit of its own, every failure in the words of [`EngineError`].
//!
//! What the driver asks of an engine, call by call; how the engine is reached is `connection`'s.

mod connection;
mod convert;

use std::time::Duration;

use bollard::auth::DockerCredentials;
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::exec::{CreateExecOptions, ResizeExecOptions, StartExecOptions, StartExecResults};
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, CreateImageOptionsBuilder,
    KillContainerOptionsBuilder, ListContainersOptionsBuilder, LogsOptionsBuilder,
    RemoveContainerOptionsBuilder, StatsOptionsBuilder, StopContainerOptionsBuilder,
    WaitContainerOptionsBuilder,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc;

use super::{
    Chunk, Command, CommandId, Container, ContainerEngine, ContainerId, Credentials, EngineError,
    EngineFacts, History, Listed, Output, Running, Source,
};
use crate::stats::Sample;

pub use connection::DockerEngine;

/// For calls that only read or flip a state.
const QUICK: Duration = Duration::from_secs(10);
/// For calls that make the engine work: create, start, remove.
const SLOW: Duration = Duration::from_mins(1);
/// For the first line of a stored log.
const FIRST_LINE: Duration = Duration::from_secs(2);
/// Both 304 (it is not running anyway) and 404 of a stop are what was wanted.
fn done_anyway(answer: Result<(), EngineError>) -> Result<(), EngineError> {
    match answer {
        Err(EngineError::NotFound(_)) => Ok(()),
        other => other,
    }
}

fn chunk(output: LogOutput) -> Option<Chunk> {
    let (source, bytes) = match output {
        LogOutput::StdOut { message } | LogOutput::Console { message } => (Source::Stdout, message),
        LogOutput::StdErr { message } => (Source::Stderr, message),
        LogOutput::StdIn { .. } => return None,
    };
    Some(Chunk { source, bytes })
}

impl ContainerEngine for DockerEngine {
    async fn facts(&self) -> Result<EngineFacts, EngineError> {
        let version = self
            .call(
                "version",
                QUICK,
                |docker| async move { docker.version().await },
            )
            .await?;
        let info = self
            .call("info", QUICK, |docker| async move { docker.info().await })
            .await?;
        let bridge = self
            .call("network", QUICK, |docker| async move {
                docker.inspect_network("bridge", None).await
            })
            .await;
        Ok(convert::facts(version, info, bridge.ok()))
    }

    async fn find_image(&self, reference: &str) -> Result<String, EngineError> {
        let image = self
            .call("image", QUICK, |docker| async move {
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
        progress: mpsc::Sender<String>,
    ) -> Result<(), EngineError> {
        let options = CreateImageOptionsBuilder::new()
            .from_image(reference)
            .build();
        let credentials = credentials.map(|given| DockerCredentials {
            username: Some(given.username),
            password: Some(given.password),
            serveraddress: Some(given.server).filter(|server| !server.is_empty()),
            ..DockerCredentials::default()
        });
        let mut lines = self
            .api()
            .await?
            .create_image(Some(options), None, credentials);
        while let Some(line) = lines.try_next().await.map_err(convert::error)? {
            if let Some(error) = line.error_detail.and_then(|detail| detail.message) {
                return Err(EngineError::Refused(error));
            }
            // A receiver that is behind misses a line of progress, nothing else.
            let _ = progress.try_send(line.status.unwrap_or_default());
        }
        Ok(())
    }

    async fn create(
        &self,
        name: &str,
        body: ContainerCreateBody,
    ) -> Result<ContainerId, EngineError> {
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        let created = self
            .call("create", SLOW, |docker| async move {
                docker.create_container(Some(options), body).await
            })
            .await?;
        Ok(ContainerId(created.id))
    }

    async fn start(&self, id: &ContainerId) -> Result<(), EngineError> {
        self.call("start", SLOW, |docker| async move {
            docker.start_container(&id.0, None).await
        })
        .await
    }

    async fn inspect(&self, id: &str) -> Result<Container, EngineError> {
        let found = self
            .call("inspect", QUICK, |docker| async move {
                docker.inspect_container(id, None).await
            })
            .await?;
        convert::container(found).ok_or_else(|| {
            EngineError::Refused(format!(
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
        done_anyway(
            self.call("stop", grace + SLOW, |docker| async move {
                docker.stop_container(&id.0, Some(options)).await
            })
            .await,
        )
    }

    async fn kill(&self, id: &ContainerId, signal: &str) -> Result<(), EngineError> {
        let options = KillContainerOptionsBuilder::new().signal(signal).build();
        self.call("kill", QUICK, |docker| async move {
            docker.kill_container(&id.0, Some(options)).await
        })
        .await
    }

    async fn remove(&self, id: &ContainerId) -> Result<(), EngineError> {
        let options = RemoveContainerOptionsBuilder::new()
            .force(true)
            .v(true)
            .build();
        done_anyway(
            self.call("remove", SLOW, |docker| async move {
                docker.remove_container(&id.0, Some(options)).await
            })
            .await,
        )
    }

    async fn attach(&self, id: &ContainerId) -> Result<Output, EngineError> {
        let options = AttachContainerOptionsBuilder::new()
            .stream(true)
            .stdout(true)
            .stderr(true)
            .build();
        let attached = self
            .call("attach", QUICK, |docker| async move {
                docker.attach_container(&id.0, Some(options)).await
            })
            .await?;
        // The write half lives as long as the stream: closing it makes the engine close ours.
        let input = attached.input;
        let output = attached
            .output
            .map_err(convert::error)
            .try_filter_map(move |item| {
                let _open = &input;
                std::future::ready(Ok(chunk(item)))
            });
        Ok(output.boxed())
    }

    async fn history(
        &self,
        id: &ContainerId,
        since: i32,
        follow: bool,
    ) -> Result<History, EngineError> {
        let options = LogsOptionsBuilder::new()
            .stdout(true)
            .stderr(true)
            .timestamps(true)
            .follow(follow)
            .since(since)
            .build();
        let mut lines = Box::pin(self.api().await?.logs(&id.0, Some(options)));
        // The first item tells whether the log can be read at all; without one the answer is a quiet container's.
        let first = tokio::time::timeout(FIRST_LINE, lines.next()).await;
        let first = match first {
            Ok(Some(Err(error))) => return Err(convert::error(error)),
            Ok(Some(Ok(line))) => Some(line),
            Ok(None) => return Ok(stream::empty().boxed()),
            Err(_) if follow => None,
            Err(_) => {
                return Err(EngineError::Timeout {
                    operation: "logs",
                    after: FIRST_LINE,
                });
            }
        };
        let lines = stream::iter(first.map(Ok))
            .chain(lines)
            .map_err(convert::error);
        Ok(lines
            .try_filter_map(|line| std::future::ready(Ok(chunk(line).and_then(convert::stamped))))
            .boxed())
    }

    async fn exec(&self, id: &ContainerId, command: Command) -> Result<Running, EngineError> {
        let options = CreateExecOptions {
            attach_stdin: Some(command.stdin),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(command.tty),
            cmd: Some(command.words),
            ..CreateExecOptions::default()
        };
        let created = self
            .call("exec", QUICK, |docker| async move {
                docker.create_exec(&id.0, options).await
            })
            .await?;
        let (exec, tty) = (created.id.clone(), command.tty);
        let options = StartExecOptions {
            tty,
            ..StartExecOptions::default()
        };
        let started = self
            .call("exec", QUICK, |docker| async move {
                docker.start_exec(&exec, Some(options)).await
            })
            .await?;
        let StartExecResults::Attached { output, input } = started else {
            return Err(EngineError::Refused(
                "the engine did not attach to the command".to_owned(),
            ));
        };
        let output = output
            .map_err(convert::error)
            .try_filter_map(|item| std::future::ready(Ok(chunk(item))))
            .boxed();
        Ok(Running {
            id: CommandId(created.id),
            output,
            input,
        })
    }

    async fn exec_exit(&self, id: &CommandId) -> Result<Option<i64>, EngineError> {
        let found = self
            .call("exec", QUICK, |docker| async move {
                docker.inspect_exec(&id.0).await
            })
            .await?;
        Ok(found.exit_code.filter(|_| found.running == Some(false)))
    }

    async fn resize(&self, id: &CommandId, height: u16, width: u16) -> Result<(), EngineError> {
        let options = ResizeExecOptions { height, width };
        self.call("resize", QUICK, |docker| async move {
            docker.resize_exec(&id.0, options).await
        })
        .await
    }

    async fn sample(&self, id: &ContainerId) -> Result<Sample, EngineError> {
        let options = StatsOptionsBuilder::new()
            .stream(false)
            .one_shot(true)
            .build();
        let one = self
            .call("stats", QUICK, |docker| async move {
                docker.stats(&id.0, Some(options)).try_next().await
            })
            .await?;
        one.map(convert::sample)
            .ok_or_else(|| EngineError::NotFound(id.0.clone()))
    }

    async fn list_running(&self, label: &str, value: &str) -> Result<Vec<Listed>, EngineError> {
        let filters =
            std::collections::HashMap::from([("label", vec![format!("{label}={value}")])]);
        let options = ListContainersOptionsBuilder::new()
            .filters(&filters)
            .build();
        let found = self
            .call("list", QUICK, |docker| async move {
                docker.list_containers(Some(options)).await
            })
            .await?;
        Ok(found.into_iter().filter_map(convert::listed).collect())
    }
}
