//! What the kernel says of processes, by pid, read by a crate that knows the formats of proc(5).
//!
//! A process that has gone says nothing. A pid may be another process's by the next question: who has to be sure asks by
//! [`crate::process::Identity`].

use procfs::process::{Process, Stat};

/// Every process that there is.
pub fn all() -> impl Iterator<Item = i32> {
    let processes = procfs::process::all_processes().into_iter().flatten();
    processes.filter_map(|process| Some(process.ok()?.pid))
}

/// What the kernel calls the process: the first fifteen letters of its program's name, unless it has named itself.
pub fn name(pid: i32) -> Option<String> {
    stat(pid).map(|stat| stat.comm)
}

/// Its command line, word by word; none of a process that has gone.
pub fn arguments(pid: i32) -> Vec<String> {
    let arguments = Process::new(pid).and_then(|process| process.cmdline());
    arguments.unwrap_or_default()
}

/// Its state, times and parent; see proc(5).
pub fn stat(pid: i32) -> Option<Stat> {
    Process::new(pid).ok()?.stat().ok()
}
