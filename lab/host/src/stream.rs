//! Runs a command to its end while somebody looks on.
//!
//! Output of both kinds is read as lines in the order it was written, each handed over as it comes, the last
//! ones kept for the sentence that tells of a failure. Not for daemons: this waits for the end.

use std::collections::VecDeque;
use std::fmt::Write;
use std::io::{self, BufRead, BufReader, Read};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How many lines a failure shows.
const TAIL: usize = 40;

/// A command that ended.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    /// The last lines of what it wrote.
    pub tail: Tail,
}

/// The last lines of an output.
#[derive(Debug, Default)]
pub struct Tail(VecDeque<String>);

impl Tail {
    pub fn push(&mut self, line: &str) {
        if self.0.len() == TAIL {
            self.0.pop_front();
        }
        self.0.push_back(line.to_owned());
    }

    /// The lines, each moved to the right by `indent` columns.
    pub fn indented(&self, indent: usize) -> String {
        let mut text = String::new();
        for line in &self.0 {
            let _ = writeln!(text, "{:indent$}{line}", "");
        }
        text
    }
}

/// Runs `command` with no input, and hands every line of its output to `each`.
pub fn run(mut command: Command, mut each: impl FnMut(&str)) -> io::Result<Finished> {
    let (reader, writer) = io::pipe()?;
    command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    let mut child = command.spawn()?;
    // It holds the writing end: as long as it lives, so does the pipe.
    drop(command);
    let mut tail = Tail::default();
    let mut reader = BufReader::new(reader);
    let mut bytes = Vec::new();
    while reader.read_until(b'\n', &mut bytes)? > 0 {
        let text = String::from_utf8_lossy(&bytes);
        let line = text.trim_end_matches(['\n', '\r']);
        each(line);
        tail.push(line);
        bytes.clear();
    }
    Ok(Finished {
        status: child.wait()?,
        tail,
    })
}

/// The standard output of a command that answers at once, such as `nomad version`: none if it fails, can't
/// be run, or is not done within `limit`.
pub fn answer(command: &mut Command, limit: Duration) -> Option<String> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let deadline = Instant::now() + limit;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Some(status),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            _ => break None,
        }
    };
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
        return None;
    }
    let mut text = String::new();
    child.stdout?.read_to_string(&mut text).ok()?;
    status?.success().then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn lines_of_both_outputs_arrive_in_order() {
        let mut lines = Vec::new();
        let end = run(
            shell("echo one; echo two >&2; printf three; exit 3"),
            |line| lines.push(line.to_owned()),
        );
        assert_eq!(lines, ["one", "two", "three"]);
        assert_eq!(end.unwrap().status.code(), Some(3));
    }

    #[test]
    fn the_tail_keeps_the_last_lines_only() {
        let end = run(shell("seq 1 100"), |_| {}).unwrap();
        let text = end.tail.indented(2);
        assert_eq!(text.lines().count(), TAIL);
        assert!(
            text.starts_with("  61\n") && text.ends_with("  100\n"),
            "{text}"
        );
    }

    #[test]
    fn a_program_that_hangs_or_fails_gives_no_answer() {
        assert_eq!(
            answer(&mut shell("echo 1.2.3"), Duration::from_secs(5)).as_deref(),
            Some("1.2.3\n")
        );
        assert_eq!(
            answer(&mut shell("echo 1.2.3; exit 1"), Duration::from_secs(5)),
            None
        );
        assert_eq!(
            answer(&mut shell("exec sleep 30"), Duration::from_millis(50)),
            None
        );
        assert_eq!(
            answer(&mut Command::new("/nowhere/at/all"), Duration::from_secs(5)),
            None
        );
    }
}
