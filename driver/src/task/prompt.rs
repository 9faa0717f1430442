//! The one thread that the kernel runs before all others of the machine. It waits for the ends of processes and tells the
//! syncer: a few microseconds of work, which fall due when the engine takes the container apart and every processor is busy.
//!
//! The policy is the kernel's round-robin at its lowest real-time priority (sched(7)). Neither niceness nor a cgroup's share
//! would do, for those only count within one session or group. Where the policy is not allowed (CAP_SYS_NICE) the thread is
//! like any other. Nothing else belongs here: a thread of this class that computes, or moves logs, would hold up the machine.

use std::io;
use std::sync::OnceLock;

use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};
use tokio::runtime::{Builder, Handle};
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, warn};

/// Runs `work` there, until it is done or the handle is dropped.
pub(super) fn spawn<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> AbortOnDropHandle<T> {
    static THREAD: OnceLock<Option<Handle>> = OnceLock::new();
    let thread = THREAD.get_or_init(|| {
        let handle = start();
        if let Err(error) = &handle {
            warn!(%error, "no thread of its own for ends of processes; they are told later on a busy machine");
        }
        handle.ok()
    });
    let task = match thread {
        Some(thread) => thread.spawn(work),
        None => tokio::spawn(work),
    };
    AbortOnDropHandle::new(task)
}

fn start() -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new()
        .name("prompt".to_owned())
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
        debug!(%error, "ends of processes are told at the usual priority");
    }
}
