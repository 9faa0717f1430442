//! Makes the guest's kernel look again for what it may have missed.
//!
//! User-mode Linux takes its interrupts as signals, and some get lost in it. An alarm that comes while the one before it is
//! handled is set aside and then dropped (`unblock_signals` in `arch/um/os-Linux/signal.c`, 6.1). As each alarm sets the
//! next, the clock then stands still for good, and the guest spins where it would wait for it. A network interrupt that is
//! lost leaves a packet lying until the next one comes. The handlers of both look at all that is due, so a signal too many
//! costs microseconds (decision 0006).

use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// What a missed interrupt costs at most.
const INTERVAL: Duration = Duration::from_millis(2);

/// Until the process ends. Its kernel must be up: before that, both signals would end it.
pub(super) fn keep_awake(pid: u32) -> Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let kernel = pidfd_open(pid.context("the guest has no pid")?, PidfdFlags::empty())
        .context("watch over the guest")?;
    std::thread::spawn(move || {
        let send = |signal| pidfd_send_signal(&kernel, signal).is_ok();
        while send(Signal::IO) && send(Signal::ALARM) {
            std::thread::sleep(INTERVAL);
        }
    });
    Ok(())
}
