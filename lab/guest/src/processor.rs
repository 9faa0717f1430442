//! The processor that a guest has: one of the machine's, before all that runs there at the usual priority.
//!
//! As if the guest were a machine of its own, which would not wait behind another machine's containers. Its kernel and the programs
//! in it are processes that wait for each other at every system call: on one processor they follow each other at once, on two
//! they wake each other from sleep. The guest counts one processor, so it loses none.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

/// Gives the calling thread, and whatever it starts from now on, that place. Where it is not allowed the guest waits as others do.
pub(super) fn take() {
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::RoundRobin);
    let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy);
    let _ = stay();
}

/// On the last of the processors that are allowed; any one would do.
fn stay() -> nix::Result<()> {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this)?;
    let Some(last) = (0..CpuSet::count()).rfind(|&cpu| allowed.is_set(cpu) == Ok(true)) else {
        return Ok(());
    };
    let mut only = CpuSet::new();
    only.set(last)?;
    sched_setaffinity(this, &only)
}
