//! `ExecTaskStreaming`: frames in and out of a command that runs inside a task.
//!
//! ```text
//!  agent ──setup, stdin, resize──▶ reader ──ExecInput──▶ driver ──ExecOutput──▶ writer ──frames──▶ agent
//! ```
//!
//! The first message says what to run; messages without content are heartbeats. The agent never closes its half, so
//! nothing waits for that. At the end come the two close frames and then the exit, in this order.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use nomad_ipvs_proto::driver::{
    ExecTaskStreamingIoOperation as Io, ExecTaskStreamingRequest, ExecTaskStreamingResponse,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{Answers, lack};
use crate::driver::TaskDriver;
use crate::value::{ExecInput, ExecOutput, ExecRequest, Exit};

/// Frames on their way; a slow reader holds the command back rather than filling memory.
const QUEUE_LENGTH: usize = 16;

/// Starts the command; the answer streams its output.
pub(super) async fn run<D: TaskDriver>(
    driver: Arc<D>,
    mut requests: Streaming<ExecTaskStreamingRequest>,
) -> Result<Answers<ExecTaskStreamingResponse>, Status> {
    let setup = requests
        .message()
        .await?
        .and_then(|first| first.setup)
        .ok_or_else(|| lack("exec setup"))?;
    let request = ExecRequest {
        task_id: setup.task_id,
        command: setup.command,
        tty: setup.tty,
    };
    let (input_tx, input) = mpsc::channel(QUEUE_LENGTH);
    let (output, mut output_rx) = mpsc::channel(QUEUE_LENGTH);
    let (frames_tx, frames) = mpsc::channel(QUEUE_LENGTH);

    let reader = tokio::spawn(read(requests, input_tx));
    tokio::spawn(async move {
        let command = driver.exec_task_streaming(request, input, output);
        let forward = async {
            loop {
                // Cancel-safe: a chunk that was not taken stays in the channel.
                let chunk = tokio::select! {
                    chunk = output_rx.recv() => chunk,
                    () = frames_tx.closed() => None,
                };
                let Some(chunk) = chunk else { break };
                if frames_tx.send(Ok(frame(chunk))).await.is_err() {
                    break;
                }
            }
            // This tells the driver if the agent has gone.
            drop(output_rx);
        };
        let (outcome, ()) = tokio::join!(command, forward);
        reader.abort();
        let last = match outcome {
            Ok(exit) => end_frames(&exit).into_iter().map(Ok).collect(),
            Err(error) => vec![Err(Status::from(error))],
        };
        for frame in last {
            if frames_tx.send(frame).await.is_err() {
                return;
            }
        }
    });
    Ok(Box::pin(ReceiverStream::new(frames)))
}

/// Turns the agent's messages into input until either side has gone.
async fn read(mut requests: Streaming<ExecTaskStreamingRequest>, input: mpsc::Sender<ExecInput>) {
    while let Some(Ok(message)) = requests.next().await {
        for item in items(message) {
            if input.send(item).await.is_err() {
                return;
            }
        }
    }
}

fn items(message: ExecTaskStreamingRequest) -> Vec<ExecInput> {
    let mut items = Vec::new();
    if let Some(size) = message.tty_size {
        let side = |length: i32| u16::try_from(length).unwrap_or_default();
        items.push(ExecInput::Resize {
            height: side(size.height),
            width: side(size.width),
        });
    }
    if let Some(stdin) = message.stdin {
        if !stdin.data.is_empty() {
            items.push(ExecInput::Stdin(Bytes::from(stdin.data)));
        }
        if stdin.close {
            items.push(ExecInput::Close);
        }
    }
    items
}

fn frame(chunk: ExecOutput) -> ExecTaskStreamingResponse {
    let data = |bytes: Bytes| {
        Some(Io {
            data: bytes.to_vec(),
            close: false,
        })
    };
    match chunk {
        ExecOutput::Stdout(bytes) => ExecTaskStreamingResponse {
            stdout: data(bytes),
            ..Default::default()
        },
        ExecOutput::Stderr(bytes) => ExecTaskStreamingResponse {
            stderr: data(bytes),
            ..Default::default()
        },
    }
}

fn end_frames(exit: &Exit) -> [ExecTaskStreamingResponse; 3] {
    let close = || {
        Some(Io {
            data: Vec::new(),
            close: true,
        })
    };
    [
        ExecTaskStreamingResponse {
            stdout: close(),
            ..Default::default()
        },
        ExecTaskStreamingResponse {
            stderr: close(),
            ..Default::default()
        },
        ExecTaskStreamingResponse {
            exited: true,
            result: Some(exit.into()),
            ..Default::default()
        },
    ]
}

#[cfg(test)]
mod tests {
    use nomad_ipvs_proto::driver::exec_task_streaming_request::TerminalSize;

    use super::*;

    #[test]
    fn an_empty_message_is_a_heartbeat() {
        assert!(items(ExecTaskStreamingRequest::default()).is_empty());
    }

    #[test]
    fn data_and_close_in_one_message_both_count() {
        let message = ExecTaskStreamingRequest {
            tty_size: Some(TerminalSize {
                height: 24,
                width: 80,
            }),
            stdin: Some(Io {
                data: b"x".to_vec(),
                close: true,
            }),
            setup: None,
        };
        let expected = [
            ExecInput::Resize {
                height: 24,
                width: 80,
            },
            ExecInput::Stdin(Bytes::from_static(b"x")),
            ExecInput::Close,
        ];
        assert_eq!(items(message), expected);
    }

    #[test]
    fn the_exit_comes_after_both_streams_are_closed() {
        let frames = end_frames(&Exit {
            code: 43,
            ..Exit::default()
        });
        assert!(
            frames[0].stdout.as_ref().is_some_and(|io| io.close)
                && frames[1].stderr.as_ref().is_some_and(|io| io.close)
        );
        assert_eq!(
            frames[2].result.as_ref().map(|result| result.exit_code),
            Some(43)
        );
    }
}
