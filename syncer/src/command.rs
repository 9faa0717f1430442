//! Programs that we run: bounded in time, their complaint kept.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

const RUN_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a program did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error("{program} is not installed (PATH is searched)")]
    Missing { program: String },
    #[error("{command}: cannot be run")]
    Unrunnable { command: String, source: io::Error },
    #[error("{command}: not done within {}s", RUN_TIMEOUT.as_secs())]
    Stalled { command: String },
    #[error("{command}: {complaint}")]
    Failed { command: String, complaint: String },
}

/// Runs a program to its end and gives what it wrote.
pub(crate) async fn run(
    program: &str,
    arguments: &[&str],
    input: Option<&str>,
) -> Result<String, CommandError> {
    let command = || format!("{program} {}", arguments.join(" "));
    let unrunnable = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => CommandError::Missing {
            program: program.to_owned(),
        },
        _ => CommandError::Unrunnable {
            command: command(),
            source,
        },
    };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(unrunnable)?;
    let whole = async {
        if let (Some(mut pipe), Some(input)) = (child.stdin.take(), input) {
            // A program that ends without reading has its say in its exit code.
            let _ = pipe.write_all(input.as_bytes()).await;
        }
        child.wait_with_output().await
    };
    let output = tokio::time::timeout(RUN_TIMEOUT, whole)
        .await
        .map_err(|_| CommandError::Stalled { command: command() })?
        .map_err(|source| CommandError::Unrunnable {
            command: command(),
            source,
        })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr)
        .trim()
        .replace('\n', "; ");
    let complaint = if complaint.is_empty() {
        output.status.to_string()
    } else {
        complaint
    };
    Err(CommandError::Failed {
        command: command(),
        complaint,
    })
}
