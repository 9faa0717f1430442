//! Commands inside a task: script checks ([`run`]) and `nomad alloc exec` ([`stream`]).
//!
//! ```text
//!  engine ──output──▶ forward ──▶ who asked          both at the same time: neither holds the other up
//!  kernel, engine ──▶ end: the exit code ──▶ forward passes the last words on, and that is it
//! ```
//!
//! All output is passed on before the exit is told, however slowly it is taken. Only the command itself is waited for;
//! children that keep its terminal or its pipes open do not hold the answer back.

mod end;
mod limits;

use std::convert::Infallible;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::ready;
use nomad_driver_sdk::DriverError;
use nomad_driver_sdk::value::{ExecInput, ExecOutput, ExecRequest, ExecResult, Exit};
use tokio::io::AsyncWriteExt;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::engine::{Chunk, Command, CommandIo, ContainerEngine, ContainerId, Output, Source};

pub use limits::Limits;
use limits::Permit;

/// The size of each stream's end that a check's result keeps.
const RESULT_SIZE_MAX: usize = 4096;
/// After the command's end: an engine that is silent for this long has passed on all that the command wrote.
const OUTPUT_SILENCE: Duration = Duration::from_millis(500);
/// Output that comes after the driver has waited for so long in all is a child's, which keeps the stream open.
const CHATTER_MAX: Duration = Duration::from_secs(2);

/// Where commands run: one container, and how many at once.
#[derive(Debug)]
pub struct Target<'a, E> {
    pub engine: &'a E,
    pub container: &'a ContainerId,
    pub limits: &'a Limits,
}

/// Runs `words` without input, for `limit` at most (zero: none).
pub async fn run<E: ContainerEngine>(
    target: Target<'_, E>,
    words: Vec<String>,
    limit: Duration,
) -> Result<ExecResult, DriverError> {
    let command = Command {
        words,
        tty: false,
        stdin: false,
    };
    let mut result = ExecResult::default();
    let work = async {
        let (io, _permit) = start(&target, command).await?;
        let keep = |chunk: Chunk| {
            let buffer = match chunk.source {
                Source::Stdout => &mut result.stdout,
                Source::Stderr => &mut result.stderr,
            };
            buffer.extend_from_slice(&chunk.bytes);
            buffer.drain(..buffer.len().saturating_sub(RESULT_SIZE_MAX));
            ready(true)
        };
        // The input stays open as long as the command runs.
        let CommandIo { id, output, input } = io;
        let code = wait_end(&target, &id, output, keep).await;
        drop(input);
        code
    };
    let code = if limit.is_zero() {
        work.await
    } else {
        let late = || {
            DriverError::new(format!(
                "the command did not end within {} s",
                limit.as_secs_f32()
            ))
        };
        timeout(limit, work).await.map_err(|_| late())?
    };
    result.exit = Exit {
        code: code?,
        ..Exit::default()
    };
    Ok(result)
}

/// Runs a command with both ends connected to the agent's. An agent that has gone lets go of it.
pub async fn stream<E: ContainerEngine>(
    target: Target<'_, E>,
    request: ExecRequest,
    mut from: mpsc::Receiver<ExecInput>,
    to: mpsc::Sender<ExecOutput>,
) -> Result<Exit, DriverError> {
    let command = Command {
        words: request.command,
        tty: request.tty,
        stdin: true,
    };
    let (io, _permit) = start(&target, command).await?;
    let CommandIo {
        id,
        output,
        mut input,
    } = io;
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
                    drop(target.engine.resize(&id, height, width).await);
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
        code = wait_end(&target, &id, output, pass_on) => code?,
        () = to.closed() => return Err(DriverError::new("nobody listens to the command any more")),
        never = feed => match never {},
    };
    Ok(Exit {
        code,
        ..Exit::default()
    })
}

async fn start<E: ContainerEngine>(
    target: &Target<'_, E>,
    command: Command,
) -> Result<(CommandIo, Permit), DriverError> {
    if command.words.is_empty() {
        return Err(DriverError::new("no command was given"));
    }
    let permit = target.limits.command()?;
    let answer = {
        let _turn = target.limits.turn().await?;
        target.engine.exec(target.container, command).await
    };
    let io = answer.map_err(|error| {
        DriverError::from_error("failed to run the command inside the task", &error)
    })?;
    Ok((io, permit))
}

/// Passes `output` on until the command has ended and all of it was; then its exit code. `pass_on` says whether there is
/// still somebody who wants it.
async fn wait_end<E: ContainerEngine, F: Future<Output = bool>>(
    target: &Target<'_, E>,
    id: &crate::engine::CommandId,
    output: Output,
    pass_on: impl FnMut(Chunk) -> F,
) -> Result<i32, DriverError> {
    let (over, silent) = (CancellationToken::new(), Notify::new());
    let end = async {
        let code = end::of(target.engine, target.container, id, &silent).await;
        over.cancel();
        code.map_err(|error| {
            DriverError::from_error("the engine does not say how the command ended", &error)
        })
    };
    let forward = async {
        forward(output, pass_on, &over).await;
        silent.notify_one();
        Ok(())
    };
    let (code, ()) = tokio::try_join!(end, forward)?;
    Ok(i32::try_from(code).unwrap_or(-1))
}

/// Passes `output` on to its end; once the command is `over`, only what was on its way. Of that time only the part without
/// output counts: who takes it slowly misses nothing.
async fn forward<F: Future<Output = bool>>(
    mut output: Output,
    mut pass_on: impl FnMut(Chunk) -> F,
    over: &CancellationToken,
) {
    let mut budget = CHATTER_MAX;
    loop {
        let item = if over.is_cancelled() {
            let begin = Instant::now();
            let item = timeout(OUTPUT_SILENCE.min(budget), output.next()).await;
            budget = budget.saturating_sub(begin.elapsed());
            item.unwrap_or_default()
        } else {
            // Cancel-safe: an item that was not taken stays in the stream.
            tokio::select! {
                item = output.next() => item,
                () = over.cancelled() => continue,
            }
        };
        let Some(Ok(chunk)) = item else { return };
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

    /// How many chunks of `output` are passed on to who needs `pause` for each, after the command's end.
    async fn count_chunks(output: Output, pause: Duration) -> u32 {
        let mut count = 0;
        let pass_on = |_| {
            count += 1;
            async move {
                sleep(pause).await;
                true
            }
        };
        let over = CancellationToken::new();
        over.cancel();
        forward(output, pass_on, &over).await;
        count
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_the_last_output_slowly_misses_nothing() {
        let chunks = stream::iter((0..100).map(|_| Ok(chunk())));
        let output = chunks.chain(stream::pending()).boxed();
        assert_eq!(count_chunks(output, Duration::from_secs(1)).await, 100);
    }

    #[tokio::test(start_paused = true)]
    async fn a_child_that_goes_on_writing_does_not_hold_the_answer_back() {
        let chatter = stream::unfold((), |()| async {
            sleep(Duration::from_millis(100)).await;
            Some((Ok(chunk()), ()))
        });
        let begin = Instant::now();
        let count = count_chunks(chatter.boxed(), Duration::ZERO).await;
        assert!(count > 0 && begin.elapsed() <= CHATTER_MAX + OUTPUT_SILENCE);
    }
}
