//! Commands inside a task: script checks ([`run`]) and `nomad alloc exec` ([`stream`]).
//!
//! All output is passed on before the exit is told. Only the command itself is waited for; children that keep its
//! terminal or its pipes open do not hold the answer back.

use std::convert::Infallible;
use std::time::Duration;

use futures_util::StreamExt;
use nomad_driver_sdk::DriverError;
use nomad_driver_sdk::value::{ExecInput, ExecOutput, ExecRequest, ExecResult, Exit};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::debug;

use crate::engine::{Chunk, Command, CommandId, ContainerEngine, ContainerId, Running, Source};

/// What a check's result keeps of each stream: its end.
const KEPT: usize = 4096;
/// Between two looks whether a command has ended.
const LOOK: Duration = Duration::from_millis(50);
/// After the command's end, for output that is on its way while a child keeps the stream open.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// Runs `words` without input, for `limit` at most (zero: none).
pub async fn run<E: ContainerEngine>(
    engine: &E,
    container: &ContainerId,
    words: Vec<String>,
    limit: Duration,
) -> Result<ExecResult, DriverError> {
    let running = start(
        engine,
        container,
        Command {
            words,
            tty: false,
            stdin: false,
        },
    )
    .await?;
    let Running {
        id,
        mut output,
        input,
    } = running;
    let mut result = ExecResult::default();
    let collect = async {
        while let Some(Ok(chunk)) = output.next().await {
            let kept = match chunk.source {
                Source::Stdout => &mut result.stdout,
                Source::Stderr => &mut result.stderr,
            };
            kept.extend_from_slice(&chunk.bytes);
            kept.drain(..kept.len().saturating_sub(KEPT));
        }
    };
    let both = until_ended(engine, &id, collect);
    let code = if limit.is_zero() {
        both.await
    } else {
        let late = || {
            DriverError::new(format!(
                "the command did not end within {} s",
                limit.as_secs_f32()
            ))
        };
        timeout(limit, both).await.map_err(|_| late())?
    };
    drop(input);
    result.exit = Exit {
        code: code?,
        ..Exit::default()
    };
    Ok(result)
}

/// Runs a command with both ends connected to the agent's.
pub async fn stream<E: ContainerEngine>(
    engine: &E,
    container: &ContainerId,
    request: ExecRequest,
    mut from: mpsc::Receiver<ExecInput>,
    to: mpsc::Sender<ExecOutput>,
) -> Result<Exit, DriverError> {
    let command = Command {
        words: request.command,
        tty: request.tty,
        stdin: true,
    };
    let Running {
        id,
        mut output,
        mut input,
    } = start(engine, container, command).await?;
    let feed = async {
        while let Some(item) = from.recv().await {
            match item {
                ExecInput::Stdin(bytes) => {
                    if let Err(error) = input.write_all(&bytes).await {
                        debug!(%error, "the command takes no more input");
                    }
                }
                ExecInput::Close => drop(input.shutdown().await),
                // A size that comes too late is no error.
                ExecInput::Resize { height, width } => {
                    drop(engine.resize(&id, height, width).await);
                }
            }
        }
        // The command decides when it is over, not its input.
        std::future::pending::<Infallible>().await
    };
    let pass_on = async {
        while let Some(Ok(Chunk { source, bytes })) = output.next().await {
            let item = match source {
                Source::Stdout => ExecOutput::Stdout(bytes),
                Source::Stderr => ExecOutput::Stderr(bytes),
            };
            if to.send(item).await.is_err() {
                return;
            }
        }
    };
    let code = tokio::select! {
        code = until_ended(engine, &id, pass_on) => code?,
        never = feed => match never {},
    };
    Ok(Exit {
        code,
        ..Exit::default()
    })
}

async fn start<E: ContainerEngine>(
    engine: &E,
    container: &ContainerId,
    command: Command,
) -> Result<Running, DriverError> {
    if command.words.is_empty() {
        return Err(DriverError::new("no command was given"));
    }
    let started = engine.exec(container, command).await;
    started.map_err(|error| {
        DriverError::from_error("failed to run the command inside the task", &error)
    })
}

/// Drives `output` until the stream ends or the command has, and a little longer; then its exit code.
async fn until_ended<E: ContainerEngine>(
    engine: &E,
    id: &CommandId,
    output: impl Future<Output = ()>,
) -> Result<i32, DriverError> {
    let failed =
        |error| DriverError::from_error("the engine does not say how the command ended", &error);
    let mut output = std::pin::pin!(output);
    let mut streaming = true;
    loop {
        tokio::select! {
            () = &mut output, if streaming => streaming = false,
            () = sleep(LOOK) => {}
        }
        if let Some(code) = engine.exec_exit(id).await.map_err(failed)? {
            if streaming {
                // Times out where a child holds the stream.
                let _ = timeout(LAST_WORDS, output).await;
            }
            return Ok(i32::try_from(code).unwrap_or(-1));
        }
        if !streaming {
            sleep(LOOK).await;
        }
    }
}
