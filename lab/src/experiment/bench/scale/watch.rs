//! Changes, and the watcher in the director's kernel that sees them arrive.
//!
//! A mark is sent right before Consul is asked for a change; the next piece of any answer of Consul's is the first that can
//! tell of it. What is not about this change makes the figure larger, never smaller.

use std::collections::BTreeMap;
use std::net::{SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, ensure};
use fastrand::Rng;
use ipvs::{Client, Kernel as _, ServiceId};
use serde::{Deserialize, Serialize};

use super::registry::{First, Registry};
use crate::experiment::bench::capture::{Capture, Event, Mark, give_way};
use crate::report::ui;
use crate::supply::products;
use crate::world::context::Lab;
use crate::world::topology::Node;

pub(super) const CHANGES: usize = 100;

/// Between two changes.
const PACE: Duration = Duration::from_millis(150);

/// How long the last change is waited for.
const LAST_CHANGE_TIMEOUT: Duration = Duration::from_secs(30);

/// Milliseconds of each change that arrived.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Latencies {
    /// Since the first answer that can tell of it.
    pub(super) from_answer: Vec<f64>,
    /// Since Consul was asked for it.
    pub(super) from_asking: Vec<f64>,
}

/// What changes, to and fro.
pub(super) type Turns = [First; 2];

/// Makes them, in services that are chosen at random, and collects what the watcher saw.
pub(super) fn changes(
    lab: &Lab,
    registry: &Registry<'_>,
    services: usize,
    turns: Turns,
) -> Result<Latencies> {
    let program = products::lab()?.display().to_string();
    let consul = lab.topology.node_address(Node::Node1).to_string();
    let words = [program.as_str(), "internal", "watch-scale", consul.as_str()];
    let limit = lasts() + Duration::from_mins(1);
    let output = std::thread::scope(|scope| {
        let watching = scope.spawn(|| lab.kernel.capture_within(&words, limit));
        let made = make(lab, registry, services, turns);
        let output = watching
            .join()
            .unwrap_or_else(|_| Err(anyhow!("the watcher's thread panicked")));
        made.and(output)
    })?;
    ensure!(output.code == 0, "the watcher: {}", output.stderr.trim());
    serde_json::from_str(output.stdout.trim()).context("read the watcher's answer")
}

/// How long the watcher watches at most.
fn lasts() -> Duration {
    Duration::from_secs(5)
        + PACE * u32::try_from(CHANGES).unwrap_or(u32::MAX) * 2
        + LAST_CHANGE_TIMEOUT
}

fn make(lab: &Lab, registry: &Registry<'_>, services: usize, turns: Turns) -> Result<()> {
    // The watcher has to be there.
    std::thread::sleep(Duration::from_secs(3));
    let marks = UdpSocket::bind((lab.topology.host_address(), 0)).context("a socket for marks")?;
    let director = (lab.topology.node_address(Node::Director), Mark::PORT);
    let mut rng = Rng::with_seed(1);
    // A service changes back long after it changed, so that one that is late is seen as late.
    let mut numbers: Vec<usize> = (0..services).collect();
    rng.shuffle(&mut numbers);
    numbers.truncate(CHANGES / 2);
    let rounds = CHANGES / 2 / numbers.len();
    for turn in turns.iter().cycle().take(2 * rounds) {
        for &number in &numbers {
            let begun = Instant::now();
            let sent = SystemTime::now().duration_since(UNIX_EPOCH)?;
            let real = registry.vip(number)?;
            marks
                .send_to(&Mark { real, sent }.datagram(), director)
                .context("send a mark")?;
            registry.set(number, *turn)?;
            std::thread::sleep(PACE.saturating_sub(begun.elapsed()));
        }
    }
    Ok(())
}

/// A change that has not arrived.
#[derive(Debug)]
struct Open {
    marked: Duration,
    answered: Option<Duration>,
    /// The sum of the service's weights before.
    before: u32,
}

/// Runs inside the director's kernel, and prints what it has seen as JSON.
pub fn watch(consul: &str) -> Result<()> {
    let capture = Capture::open(consul.parse().context("Consul's address")?)?;
    give_way()?;
    let mut kernel = Client::open()?;
    let mut open: BTreeMap<SocketAddrV4, Open> = BTreeMap::new();
    let mut latencies = Latencies::default();
    let end = Instant::now() + lasts();
    while latencies.from_answer.len() < CHANGES && Instant::now() < end {
        match capture.next()? {
            None => {}
            Some(Event::Marked(mark, at)) => {
                let before = weight(&mut kernel, mark.real)?;
                open.insert(
                    mark.real,
                    Open {
                        marked: at,
                        answered: None,
                        before,
                    },
                );
            }
            Some(Event::Answered(at)) => {
                for change in open.values_mut() {
                    change.answered.get_or_insert(at);
                }
            }
            Some(Event::Acknowledged(at)) => {
                let mut arrived = Vec::new();
                for (vip, change) in &open {
                    if weight(&mut kernel, *vip)? != change.before {
                        arrived.push(*vip);
                    }
                }
                for vip in arrived {
                    let Some(change) = open.remove(&vip) else {
                        continue;
                    };
                    let millis = |since: Duration| at.saturating_sub(since).as_secs_f64() * 1000.0;
                    latencies
                        .from_answer
                        .push(millis(change.answered.unwrap_or(change.marked)));
                    latencies.from_asking.push(millis(change.marked));
                }
            }
        }
    }
    ui::print(&serde_json::to_string(&latencies)?);
    Ok(())
}

/// Of all real servers together.
fn weight(kernel: &mut Client, vip: SocketAddrV4) -> Result<u32> {
    let service: ServiceId = vip.to_string().parse().context("a virtual service")?;
    let reals = kernel.reals(&service)?;
    Ok(reals
        .entries
        .iter()
        .map(|(real, _)| real.weight.get())
        .sum())
}
