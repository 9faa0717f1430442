//! The watcher: pairs each answer with the change that it caused, and checks in the kernel's table that it did.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ipvs::{Client, Kernel as _, ServiceId};

use super::CHANGES;
use crate::experiment::bench::capture::{Capture, Event, give_way};
use crate::report::ui;

/// Runs inside the director's kernel, and prints the milliseconds of each change as JSON.
pub fn watch(consul: &str, vip: &str) -> Result<()> {
    let capture = Capture::open(consul.parse().context("Consul's address")?)?;
    give_way()?;
    let mut kernel = Client::open()?;
    let service: ServiceId = vip.parse().context("the VIP")?;
    let mut last = weight(&mut kernel, &service)?;
    let mut answered = None;
    let mut millis = Vec::new();
    let end = Instant::now() + Duration::from_mins(1);
    while millis.len() < CHANGES && Instant::now() < end {
        match capture.next()? {
            None | Some(Event::Marked(..)) => {}
            // The last piece before the change is the one that made the answer whole.
            Some(Event::Answered(at)) => answered = Some(at),
            Some(Event::Acknowledged(at)) => {
                let found = weight(&mut kernel, &service)?;
                let lag = answered.and_then(|answered| at.checked_sub(answered));
                // Others' acknowledgements leave the weight as it was.
                if let (true, Some(_), Some(lag)) = (found != last, last, lag) {
                    millis.push(lag.as_secs_f64() * 1000.0);
                }
                last = found;
            }
        }
    }
    ensure!(
        millis.len() >= CHANGES * 9 / 10,
        "only {} of {CHANGES} changes were seen",
        millis.len()
    );
    ui::print(&serde_json::to_string(&millis)?);
    Ok(())
}

fn weight(kernel: &mut Client, service: &ServiceId) -> Result<Option<u32>> {
    let reals = kernel.reals(service)?;
    Ok(reals.entries.first().map(|(real, _)| real.weight.get()))
}
