//! Looks at the lab while it suffers: the three views, Nomad's tasks, and the kernel's table again and again.
//!
//! Every look is bounded, for a director that hangs answers nobody.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use serde::Serialize;

use super::job;
use crate::client::nomad::{Allocation, Port};
use crate::observe::status::{self, Kernel, View};
use crate::world::context::Lab;

/// How long a look may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// Between two looks at the table.
const PAUSE: Duration = Duration::from_millis(400);

/// An allocation of the job, as its task fares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Task {
    pub(super) alloc: String,
    pub(super) desired: String,
    pub(super) client: String,
    pub(super) started: String,
    pub(super) restarts: u64,
    pub(super) address: Option<SocketAddr>,
}

impl Task {
    /// Running and wanted.
    pub(super) fn is_running(&self) -> bool {
        self.desired == "run" && self.client == "running"
    }

    /// Neither running nor about to.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.client.as_str(), "complete" | "failed" | "lost")
    }
}

/// The kernel's table at one moment.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Sample {
    /// Seconds since the sampler's start.
    pub(super) at: f64,
    /// Weight by real server.
    pub(super) weights: BTreeMap<SocketAddr, u32>,
}

/// The three views.
pub(super) fn view(lab: &Arc<Lab>) -> Result<View> {
    let lab = Arc::clone(lab);
    bounded("read the three views", move || status::look(&lab))
}

/// The job's allocations, by id.
pub(super) fn tasks(lab: &Lab) -> Result<Vec<Task>> {
    let mut tasks: Vec<Task> = job::allocations(lab)?.iter().map(task).collect();
    tasks.sort_by(|a, b| a.alloc.cmp(&b.alloc));
    Ok(tasks)
}

fn task(allocation: &Allocation) -> Task {
    let state = allocation.task_states().next().map(|(_, state)| state);
    Task {
        alloc: allocation.id.clone(),
        desired: allocation.desired_status.clone(),
        client: allocation.client_status.clone(),
        started: state
            .and_then(|state| state.started_at.clone())
            .unwrap_or_default(),
        restarts: state.map_or(0, |state| state.restarts),
        address: allocation.ports().next().map(Port::address),
    }
}

/// Reads the kernel's table until it is told to stop.
#[derive(Debug)]
pub(super) struct Sampler {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Sample>>,
}

impl Sampler {
    pub(super) fn start(lab: &Arc<Lab>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (lab, stopped) = (Arc::clone(lab), Arc::clone(&stop));
        let vip = lab.topology.vip().to_string();
        let thread = std::thread::spawn(move || {
            let started = Instant::now();
            let mut samples = Vec::new();
            while !stopped.load(Ordering::Acquire) {
                let at = started.elapsed().as_secs_f64();
                let lab = Arc::clone(&lab);
                let read = bounded("read the table", move || status::kernel_table(&lab));
                if let Ok(Ok(table)) = read {
                    samples.push(Sample {
                        at,
                        weights: weights(&table, &vip),
                    });
                }
                std::thread::sleep(PAUSE);
            }
            samples
        });
        Self { stop, thread }
    }

    pub(super) fn stop(self) -> Result<Vec<Sample>> {
        self.stop.store(true, Ordering::Release);
        self.thread
            .join()
            .map_err(|_| anyhow!("the sampler panicked"))
    }
}

/// Of the job's own VIP: behind another one a real server may have another weight.
fn weights(table: &Kernel, vip: &str) -> BTreeMap<SocketAddr, u32> {
    let reals = table.values().flatten().filter(|real| real.serves(vip));
    reals.map(|real| (real.address, real.weight)).collect()
}

/// On a thread of its own, which is left behind when it takes too long.
pub(super) fn bounded<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(work()));
    receiver
        .recv_timeout(LOOK_TIMEOUT)
        .with_context(|| format!("{what}: no answer in {} s", LOOK_TIMEOUT.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::status::RealServer;

    #[test]
    fn a_weight_behind_another_vip_is_not_the_jobs() {
        let at: SocketAddr = "198.18.0.11:25000".parse().unwrap();
        let real = |vip: &str, weight| RealServer::idle("198.18.0.11:25000", vip, weight);
        let reals = vec![
            real("tcp://198.18.0.29:80", 1),
            real("tcp://198.18.0.30:80", 0),
        ];
        let table = [(at, reals)].into();
        assert_eq!(weights(&table, "198.18.0.29:80"), [(at, 1)].into());
    }
}
