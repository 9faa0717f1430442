//! One-shot commands whose failure must say what was run and what it answered.

use std::io::Read;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::programs;

/// Runs a program to its end and returns its standard output.
pub fn run(program: &str, args: &[&str]) -> Result<String> {
    let mut command = Command::new(program);
    command.args(args);
    run_command(&mut command)
}

/// Same, for a command that needs more than arguments.
pub fn run_command(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    command.env("PATH", programs::search_path());
    let output = command.output().with_context(|| format!("run `{shown}`"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("`{shown}` failed ({}): {}", output.status, stderr.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command with no input and keeps its output, whatever its exit code. One that is not done within `limit` is ended,
/// and that is an error.
pub fn output(command: &mut Command, limit: Duration) -> Result<Output> {
    let shown = shown(command);
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.with_context(|| format!("run `{shown}`"))?;
    let (stdout, stderr) = (collect(child.stdout.take()), collect(child.stderr.take()));
    let end = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait().with_context(|| format!("run `{shown}`"))? {
            break status;
        }
        if Instant::now() >= end {
            let _ = child.kill();
            let _ = child.wait();
            bail!("`{shown}` is not done after {} s", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    // What it has left behind may hold its output open: that is not waited for beyond the limit either.
    let whole = |bytes: Receiver<Vec<u8>>| {
        bytes
            .recv_timeout(end.saturating_duration_since(Instant::now()))
            .with_context(|| format!("`{shown}` has ended, and something holds its output open"))
    };
    Ok(Output {
        status,
        stdout: whole(stdout)?,
        stderr: whole(stderr)?,
    })
}

/// Reads to the end on a thread of its own.
fn collect(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        sender.send(bytes)
    });
    receiver
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_does_not_end_is_ended_and_named() {
        let begun = Instant::now();
        let mut command = Command::new("sleep");
        let error = output(command.arg("60"), Duration::from_millis(200)).unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(20));
        assert!(
            format!("{error:#}").contains("`sleep 60` is not done"),
            "{error:#}"
        );
    }

    #[test]
    fn a_command_whose_child_holds_the_output_is_not_waited_for() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 5 & echo done"]);
        let error = output(&mut command, Duration::from_millis(500)).unwrap_err();
        assert!(
            format!("{error:#}").contains("holds its output open"),
            "{error:#}"
        );
    }

    #[test]
    fn both_outputs_and_the_exit_code_are_kept() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 3"]);
        let kept = output(&mut command, Duration::from_secs(20)).unwrap();
        assert_eq!(
            (kept.stdout.as_slice(), kept.stderr.as_slice()),
            (&b"out\n"[..], &b"err\n"[..])
        );
        assert_eq!(kept.status.code(), Some(3));
    }
}
