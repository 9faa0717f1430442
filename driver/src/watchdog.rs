//! Notices that the runtime's workers do no work any more, from a thread that needs none of them.
//!
//! A plugin whose workers are all held up answers nothing, and so can't say that it is ill either: for the agent it stays
//! healthy, and no task of the node can be started, stopped or looked into. Its end is the cure. The agent notices it,
//! starts the plugin anew and hands it its tasks; their containers never notice.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;
use tracing::error;

/// The pause between two questions to the workers.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);
/// Questions without an answer that make an illness. They are counted, not timed: a process that was stopped for an hour
/// has missed none.
const MISSES_MAX: u32 = 30;
/// The time for the last log line: its reader may be held up as well.
const LOG_FLUSH_TIME: Duration = Duration::from_secs(1);

/// Watches `runtime` for the life of the process, and ends the process when the workers stand still.
pub fn guard(runtime: Handle) -> std::io::Result<()> {
    let watch = move || {
        wait_stall(&runtime, BEAT_INTERVAL, MISSES_MAX);
        let words = thread::spawn(|| {
            error!(
                "no worker of this plugin has done anything for {MISSES_MAX} s: it ends, so that the agent starts it anew"
            );
            let _ = std::io::stderr().flush();
        });
        thread::sleep(LOG_FLUSH_TIME);
        drop(words);
        std::process::abort();
    };
    thread::Builder::new()
        .name("watchdog".to_owned())
        .spawn(watch)
        .map(drop)
}

/// Returns once `misses_max` beats in a row were not answered.
fn wait_stall(runtime: &Handle, beat: Duration, misses_max: u32) {
    let answers = Arc::new(AtomicU64::new(0));
    let (mut last, mut misses) = (0, 0_u32);
    loop {
        // One question at a time: workers that stand still must not find thousands when they go on.
        if misses == 0 {
            let answers = Arc::clone(&answers);
            runtime.spawn(async move { answers.fetch_add(1, Ordering::Relaxed) });
        }
        thread::sleep(beat);
        let count = answers.load(Ordering::Relaxed);
        if count == last {
            misses = misses.saturating_add(1);
        } else {
            (last, misses) = (count, 0);
        }
        if misses >= misses_max {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const WAIT_MAX: Duration = Duration::from_secs(20);

    #[test]
    fn workers_that_all_stand_still_are_noticed_and_busy_ones_are_not_taken_for_such() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .build()
            .unwrap();
        let (report, reports) = mpsc::channel();
        let handle = runtime.handle().clone();
        thread::spawn(move || {
            wait_stall(&handle, Duration::from_millis(50), 10);
            report.send(()).unwrap();
        });
        // One of two is held up: the other answers.
        let (first, gate) = mpsc::channel::<()>();
        runtime.spawn(async move { gate.recv().is_err() });
        assert!(reports.recv_timeout(Duration::from_secs(1)).is_err());
        let (second, gate) = mpsc::channel::<()>();
        runtime.spawn(async move { gate.recv().is_err() });
        assert!(reports.recv_timeout(WAIT_MAX).is_ok());
        drop((first, second));
    }
}
