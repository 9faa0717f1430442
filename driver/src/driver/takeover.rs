//! Taking a task over from the agent's built-in driver: its log reader has to go, or each line would arrive twice.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tracing::{info, warn};

/// Ends the built-in driver's `docker_logger` of one task, if `pid` still is one.
pub(super) fn end_log_reader(pid: i32) {
    let Ok(command) = fs::read(format!("/proc/{pid}/cmdline")) else {
        return;
    };
    if !command
        .split(|byte| *byte == 0)
        .any(|word| word == b"docker_logger")
    {
        return;
    }
    match kill(Pid::from_raw(pid), Signal::SIGKILL) {
        Ok(()) => info!(
            pid,
            "ended the built-in driver's log reader of a task taken over"
        ),
        Err(error) => {
            warn!(%error, pid, "the built-in driver's log reader can't be ended, lines may arrive twice");
        }
    }
}
