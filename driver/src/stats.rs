//! The resources that a task uses, from two looks at its counters.
//!
//! Where the engine's machine is ours the counters are the kernel's own ([`cgroup`]), read for all tasks in one place
//! ([`Sampler`]). Elsewhere each look is one quick question to the engine (no waiting inside it). The shares come from the
//! difference to the last one. The stream ends quietly when the task has ended: the agent logs everything else as an error.

pub mod cgroup;
mod sampler;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use nomad_driver_sdk::value::{CpuStats, TaskStats};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::debug;

use crate::agent::Compute;
use crate::engine::{ContainerEngine, ContainerId, Sample};
use crate::task::{ExitWatch, Task};
use cgroup::Cgroup;

pub use sampler::Sampler;

const INTERVAL_MIN: Duration = Duration::from_millis(200);
/// The longest pause after an engine that does not answer.
const LONGEST_PAUSE: Duration = Duration::from_mins(2);

/// One item an interval, from the second look on.
pub fn watch<E: ContainerEngine>(
    engine: Arc<E>,
    sampler: Sampler,
    task: &Task,
    compute: Compute,
    interval: Duration,
) -> impl Stream<Item = TaskStats> + Send + use<E> {
    let state = StatsWatcher {
        engine,
        sampler,
        container: task.container.clone(),
        exit: task.exit_watch(),
        id: task.config.id.clone(),
        compute,
        interval: interval.max(INTERVAL_MIN),
        counters: Counters::Unknown { pid: task.pid },
        last: None,
    };
    stream::unfold(state, |mut state| async move {
        Some((state.next().await?, state))
    })
}

/// Where a task's counters come from.
enum Counters {
    Unknown { pid: Option<i32> },
    Kernel(mpsc::Receiver<Sample>),
    Engine,
}

struct StatsWatcher<E> {
    engine: Arc<E>,
    sampler: Sampler,
    container: ContainerId,
    exit: ExitWatch,
    id: String,
    compute: Compute,
    interval: Duration,
    counters: Counters,
    last: Option<Sample>,
}

impl<E: ContainerEngine> StatsWatcher<E> {
    async fn next(&mut self) -> Option<TaskStats> {
        loop {
            if self.exit.is_over() {
                return None;
            }
            match &mut self.counters {
                Counters::Unknown { pid } => {
                    let pid = *pid;
                    self.counters = self.find(pid).await;
                }
                Counters::Engine => return self.ask_engine().await,
                Counters::Kernel(samples) => {
                    // Cancel-safe: a sample that was not taken stays in the channel.
                    let sample = tokio::select! {
                        sample = samples.recv() => sample,
                        () = self.exit.wait_end() => return None,
                    };
                    if let Some(fresh) = sample {
                        return Some(self.describe(fresh));
                    }
                    // The cgroup has gone. Where the task has not, the engine knows why.
                    self.counters = Counters::Engine;
                    self.last = None;
                    sleep(self.interval).await;
                }
            }
        }
    }

    async fn find(&self, pid: Option<i32>) -> Counters {
        let container = self.container.clone();
        let open = move || {
            let pid = pid.ok_or_else(|| std::io::Error::other("its process is not known"))?;
            Cgroup::open(pid, &container)
        };
        match spawn_blocking(open).await {
            Ok(Ok(cgroup)) => Counters::Kernel(self.sampler.subscribe(cgroup, self.interval)),
            Ok(Err(error)) => {
                debug!(%error, container = self.container.short(), "the container's cgroup can't be read, the engine is asked");
                Counters::Engine
            }
            Err(_) => Counters::Engine,
        }
    }

    async fn ask_engine(&mut self) -> Option<TaskStats> {
        let mut pause = self.interval;
        loop {
            if self.last.is_some() {
                tokio::select! {
                    () = sleep(pause) => {}
                    () = self.exit.wait_end() => return None,
                }
            }
            if self.exit.is_over() {
                return None;
            }
            match self.engine.sample(&self.container).await {
                Ok(fresh) => return Some(self.describe(fresh)),
                Err(error) => {
                    debug!(%error, container = self.container.short(), "no sample");
                    sleep(pause).await;
                    pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    fn describe(&mut self, fresh: Sample) -> TaskStats {
        let stats = describe(&self.id, self.last.as_ref(), &fresh, self.compute);
        self.last = Some(fresh);
        stats
    }
}

fn describe(id: &str, earlier: Option<&Sample>, fresh: &Sample, compute: Compute) -> TaskStats {
    let cpu = earlier.map_or_else(CpuStats::default, |earlier| shares(earlier, fresh, compute));
    TaskStats {
        task_id: id.to_owned(),
        at: fresh.at,
        cpu: CpuStats {
            throttled_periods: Some(fresh.throttled_periods),
            throttled: Some(fresh.throttled),
            ..cpu
        },
        memory: fresh.memory,
    }
}

/// Percent of one core: a machine of four cores has 400.
#[expect(
    clippy::cast_precision_loss,
    reason = "counters of nanoseconds; a percentage needs no more"
)]
fn shares(earlier: &Sample, fresh: &Sample, compute: Compute) -> CpuStats {
    let delta =
        |counter: fn(&Sample) -> u64| counter(fresh).saturating_sub(counter(earlier)) as f64;
    let system = delta(|sample| sample.system_total);
    let cores = compute.cores as f64;
    let percent = |part: f64| {
        if system > 0.0 {
            part / system * cores * 100.0
        } else {
            0.0
        }
    };
    let total = percent(delta(|sample| sample.cpu_total));
    CpuStats {
        percent: Some(total),
        system_percent: Some(percent(delta(|sample| sample.cpu_kernel))),
        user_percent: Some(percent(delta(|sample| sample.cpu_user))),
        ticks: Some(total / 100.0 * compute.total_mhz as f64 / cores.max(1.0)),
        ..CpuStats::default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use nomad_driver_sdk::value::MemoryStats;

    use super::*;

    fn sample(cpu_total: u64, system_total: u64) -> Sample {
        Sample {
            at: SystemTime::UNIX_EPOCH,
            cpu_total,
            cpu_kernel: 0,
            cpu_user: cpu_total,
            system_total,
            throttled_periods: 0,
            throttled: Duration::ZERO,
            memory: MemoryStats::default(),
        }
    }

    #[test]
    fn half_of_four_cores_is_two_hundred_percent() {
        let cpu = shares(
            &sample(50, 100),
            &sample(100, 200),
            Compute {
                cores: 4,
                total_mhz: 8000,
            },
        );
        assert_eq!((cpu.percent, cpu.ticks), (Some(200.0), Some(4000.0)));
    }

    #[test]
    fn counters_that_stand_still_or_go_back_are_zero() {
        let compute = Compute {
            cores: 4,
            total_mhz: 8000,
        };
        for (earlier, fresh) in [
            (sample(50, 100), sample(50, 100)),
            (sample(100, 200), sample(50, 300)),
        ] {
            assert_eq!(shares(&earlier, &fresh, compute).percent, Some(0.0));
        }
    }
}
