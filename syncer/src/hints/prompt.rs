//! The one thread that goes before all others of a node: what drivers tell is passed on there.
//!
//! It is little work, and falls due when a container ends or starts and every processor is busy with that. The policy
//! is the kernel's round-robin at its lowest real-time priority (sched(7)); niceness would not do, for it counts within
//! one session or group only. Without the right to it (CAP_SYS_NICE) the thread is one like any other. Nothing that
//! computes belongs here: it would hold up the machine.

use std::io;
use std::sync::OnceLock;

use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};
use tokio::runtime::{Builder, Handle};
use tracing::{debug, warn};

/// Where to spawn what belongs there; the caller's own runtime if it can't be had.
pub(super) fn thread() -> Handle {
    static THREAD: OnceLock<Option<Handle>> = OnceLock::new();
    let thread = THREAD.get_or_init(|| {
        let started = start();
        if let Err(error) = &started {
            warn!(%error, "no thread of its own for hints; they are passed on later on a busy machine");
        }
        started.ok()
    });
    thread.clone().unwrap_or_else(Handle::current)
}

fn start() -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new()
        .name("hints".to_owned())
        .spawn(move || {
            go_first();
            runtime.block_on(std::future::pending::<()>());
        })?;
    Ok(handle)
}

fn go_first() {
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::RoundRobin);
    if let Err(error) =
        set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy)
    {
        debug!(%error, "hints are passed on at the usual priority");
    }
}
