//! A steady stream of requests from one place to one address, each on a connection of its own.
//!
//! Open loop: request *i* is due at *i* / rate, whether or not earlier ones have been answered, and its latency counts
//! from when it was due. So a stall shows up in every request that it held back. Local ports come in turn, which `connect` explains.

mod connect;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use hdrhistogram::Histogram;

use crate::host::netns;

/// How long one request may take altogether.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// What to ask, and how often.
#[derive(Debug, Clone)]
pub struct Plan {
    pub target: SocketAddr,
    /// Requests a second.
    pub rate: u32,
    /// Requests that may be under way at once.
    pub workers: u32,
    /// Network namespace to ask from.
    pub netns: String,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub answered: u64,
    pub failed: u64,
    /// The first few failures: seconds after the start, and why.
    pub failures: Vec<(f64, String)>,
    /// Seconds after the start of the last one, and why.
    pub last_failure: Option<(f64, String)>,
    /// Microseconds of the answered ones.
    pub latency: Histogram<u64>,
    pub seconds: f64,
}

impl Outcome {
    /// Requests a second that were asked.
    pub fn rate(&self) -> f64 {
        let asked = u32::try_from(self.answered + self.failed).unwrap_or(u32::MAX);
        f64::from(asked) / self.seconds
    }
}

/// A stream under way.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<Result<()>>>,
}

#[derive(Debug)]
struct Shared {
    started: Instant,
    next: AtomicU64,
    stop: AtomicBool,
    outcome: Mutex<Outcome>,
}

/// Starts asking; goes on until [`Load::stop`].
pub fn start(plan: &Plan) -> Result<Load> {
    let latency = Histogram::new_with_bounds(1, 60_000_000, 3).context("make a histogram")?;
    let outcome = Outcome {
        answered: 0,
        failed: 0,
        failures: Vec::new(),
        last_failure: None,
        latency,
        seconds: 0.0,
    };
    let shared = Arc::new(Shared {
        started: Instant::now(),
        next: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        outcome: Mutex::new(outcome),
    });
    let workers = (0..plan.workers)
        .map(|_| {
            let (plan, shared) = (plan.clone(), Arc::clone(&shared));
            std::thread::spawn(move || {
                netns::enter(&plan.netns)?;
                work(&plan, &shared);
                Ok(())
            })
        })
        .collect();
    Ok(Load { shared, workers })
}

impl Load {
    /// Requests that have been answered so far.
    pub fn answered(&self) -> u64 {
        self.so_far().0
    }

    /// How many have been answered and how many have failed so far.
    pub fn so_far(&self) -> (u64, u64) {
        let outcome = self.shared.outcome.lock();
        let outcome = outcome.unwrap_or_else(PoisonError::into_inner);
        (outcome.answered, outcome.failed)
    }

    /// Since the start.
    pub fn seconds(&self) -> f64 {
        self.shared.started.elapsed().as_secs_f64()
    }

    /// Lets the requests under way end, and counts.
    pub fn stop(self) -> Result<Outcome> {
        self.shared.stop.store(true, Ordering::Release);
        for worker in self.workers {
            worker
                .join()
                .map_err(|_| anyhow!("a load worker panicked"))??;
        }
        let mut outcome = self
            .shared
            .outcome
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        outcome.seconds = self.shared.started.elapsed().as_secs_f64();
        Ok(outcome)
    }
}

fn work(plan: &Plan, shared: &Shared) {
    while !shared.stop.load(Ordering::Acquire) {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        let due = shared.started + Duration::from_micros(number * 1_000_000 / u64::from(plan.rate));
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let result = request(plan.target);
        let took = due.elapsed();
        let mut outcome = shared
            .outcome
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(()) => {
                outcome.answered += 1;
                let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                outcome.latency.saturating_record(micros);
            }
            Err(error) => {
                outcome.failed += 1;
                let failure = ((due - shared.started).as_secs_f64(), format!("{error:#}"));
                if outcome.failures.len() < 20 {
                    outcome.failures.push(failure.clone());
                }
                // Workers end in any order.
                if outcome
                    .last_failure
                    .as_ref()
                    .is_none_or(|last| last.0 < failure.0)
                {
                    outcome.last_failure = Some(failure);
                }
            }
        }
    }
}

/// One connection, one request, the whole answer.
pub fn request(target: SocketAddr) -> Result<()> {
    let mut stream = connect::connect(target, REQUEST_TIMEOUT).context("connect")?;
    stream
        .set_read_timeout(Some(REQUEST_TIMEOUT))
        .context("set a time-out")?;
    stream
        .write_all(b"GET / HTTP/1.0\r\n\r\n")
        .context("send")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).context("read")?;
    check(&answer)
}

/// 200, and as long as it said it would be.
fn check(answer: &[u8]) -> Result<()> {
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .context("an answer without a head")?;
    let head = String::from_utf8_lossy(&answer[..end]);
    let status = head.split_ascii_whitespace().nth(1).unwrap_or_default();
    anyhow::ensure!(status == "200", "status {status}");
    let announced = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    });
    let got = answer.len() - end - 4;
    anyhow::ensure!(
        announced.is_none_or(|announced| announced == got),
        "cut off after {got} of {announced:?} bytes"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn only_a_whole_answer_with_200_counts() {
        assert!(check(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi").is_ok());
        assert!(check(b"HTTP/1.0 200 OK\r\n\r\nhi").is_ok());
        assert!(check(b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nhi").is_err());
        assert!(check(b"HTTP/1.0 503 No\r\n\r\n").is_err());
        assert!(check(b"").is_err());
    }
}
