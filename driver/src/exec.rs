//! Commands inside a task: script checks ([`run`]) and `nomad alloc exec` ([`stream`]).
//!
//! All output is passed on before the exit is told, however slowly it is taken. Only the command itself is waited for;
//! children that keep its terminal or its pipes open do not hold the answer back.

use std::convert::Infallible;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::ready;
use nomad_driver_sdk::DriverError;
use nomad_driver_sdk::value::{ExecInput, ExecOutput, ExecRequest, ExecResult, Exit};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, timeout};
use tracing::debug;

use crate::engine::{
    Chunk, Command, CommandId, ContainerEngine, ContainerId, Output, Running, Source,
};

/// What a check's result keeps of each stream: its end.
const KEPT: usize = 4096;
/// Between two looks whether a command has ended.
const LOOK: Duration = Duration::from_millis(50);
/// After the command's end: an engine that is silent for this long has passed on all that the command wrote.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// And so long, all waiting for it together, what comes is a child's that keeps the stream open.
const CHATTER: Duration = Duration::from_secs(2);

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
    let Running { id, output, input } = running;
    let mut result = ExecResult::default();
    let both = until_ended(engine, &id, output, |chunk| {
        let kept = match chunk.source {
            Source::Stdout => &mut result.stdout,
            Source::Stderr => &mut result.stderr,
        };
        kept.extend_from_slice(&chunk.bytes);
        kept.drain(..kept.len().saturating_sub(KEPT));
        ready(true)
    });
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
        output,
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
    let pass_on = |Chunk { source, bytes }| {
        let item = match source {
            Source::Stdout => ExecOutput::Stdout(bytes),
            Source::Stderr => ExecOutput::Stderr(bytes),
        };
        let to = to.clone();
        async move { to.send(item).await.is_ok() }
    };
    let code = tokio::select! {
        code = until_ended(engine, &id, output, pass_on) => code?,
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

/// Passes `output` on until the command has ended and all of it was; then its exit code. `pass_on` says whether there is
/// still somebody who wants it.
async fn until_ended<E: ContainerEngine, F: Future<Output = bool>>(
    engine: &E,
    id: &CommandId,
    mut output: Output,
    mut pass_on: impl FnMut(Chunk) -> F,
) -> Result<i32, DriverError> {
    let failed =
        |error| DriverError::from_error("the engine does not say how the command ended", &error);
    let mut streaming = true;
    let mut looks = interval(LOOK);
    loop {
        // Cancel-safe: an item that was not taken stays in the stream.
        tokio::select! {
            item = output.next(), if streaming => streaming = match item {
                Some(Ok(chunk)) => pass_on(chunk).await,
                _ => false,
            },
            _ = looks.tick() => if let Some(code) = engine.exec_exit(id).await.map_err(failed)? {
                if streaming {
                    last_words(output, pass_on).await;
                }
                return Ok(i32::try_from(code).unwrap_or(-1));
            }
        }
    }
}

/// What is on its way when a command has ended. Only time without output counts: who takes it slowly misses nothing.
async fn last_words<F: Future<Output = bool>>(
    mut output: Output,
    mut pass_on: impl FnMut(Chunk) -> F,
) {
    let mut patience = CHATTER;
    loop {
        let asked = Instant::now();
        let Ok(Some(Ok(chunk))) = timeout(LAST_WORDS.min(patience), output.next()).await else {
            return;
        };
        patience = patience.saturating_sub(asked.elapsed());
        if !pass_on(chunk).await {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::stream;
    use tokio::time::sleep;

    use super::*;

    fn chunk() -> Chunk {
        Chunk {
            source: Source::Stdout,
            bytes: Bytes::from_static(b"x"),
        }
    }

    /// How many chunks of `output` are passed on to who needs `pause` for each.
    async fn taken(output: Output, pause: Duration) -> u32 {
        let mut count = 0;
        let pass_on = |_| {
            count += 1;
            async move {
                sleep(pause).await;
                true
            }
        };
        last_words(output, pass_on).await;
        count
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_the_last_output_slowly_misses_nothing() {
        let written = stream::iter((0..100).map(|_| Ok(chunk())));
        let held_open = written.chain(stream::pending()).boxed();
        assert_eq!(taken(held_open, Duration::from_secs(1)).await, 100);
    }

    #[tokio::test(start_paused = true)]
    async fn a_child_that_goes_on_writing_does_not_hold_the_answer_back() {
        let chatter = stream::unfold((), |()| async {
            sleep(Duration::from_millis(100)).await;
            Some((Ok(chunk()), ()))
        });
        let started = Instant::now();
        let count = taken(chatter.boxed(), Duration::ZERO).await;
        assert!(count > 0 && started.elapsed() <= CHATTER + LAST_WORDS);
    }
}
