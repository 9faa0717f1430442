//! The watcher: notes in the director's kernel when a marked real server takes nothing any more.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ipvs::{Client, Kernel as _, ServiceId};

use super::{ENDS, ENDS_TIMEOUT};
use crate::experiment::bench::capture::{Capture, Event, give_way};
use crate::report::ui;

/// Runs inside the director's kernel, and prints the milliseconds of each end as JSON.
pub fn watch(consul: &str, vip: &str) -> Result<()> {
    let capture = Capture::open(consul.parse().context("Consul's address")?)?;
    give_way()?;
    let mut kernel = Client::open()?;
    let service: ServiceId = vip.parse().context("the VIP")?;
    let mut marked: BTreeMap<SocketAddrV4, Duration> = BTreeMap::new();
    let mut took = Vec::new();
    // How much later our clock shows a time than the sender's, at most: the quickest mark knows best.
    let mut ahead = f64::INFINITY;
    let end = Instant::now() + ENDS_TIMEOUT;
    while took.len() < ENDS && Instant::now() < end {
        match capture.next()? {
            None | Some(Event::Answered(_)) => {}
            Some(Event::Marked(mark, at)) => {
                ahead = ahead.min(at.as_secs_f64() - mark.sent.as_secs_f64());
                marked.insert(mark.real, mark.sent);
            }
            Some(Event::Acknowledged(at)) => {
                let serving = serving(&mut kernel, &service)?;
                marked.retain(|real, sent| {
                    let is_served = serving.contains(real);
                    if !is_served {
                        took.push(at.as_secs_f64() - sent.as_secs_f64());
                    }
                    is_served
                });
            }
        }
    }
    let millis: Vec<f64> = took.iter().map(|raw| (raw - ahead) * 1000.0).collect();
    ui::print(&serde_json::to_string(&millis)?);
    Ok(())
}

fn serving(kernel: &mut Client, service: &ServiceId) -> Result<BTreeSet<SocketAddrV4>> {
    let reals = kernel.reals(service)?.into_iter();
    let serving = reals.filter(|(real, _)| real.weight.serves());
    Ok(serving
        .filter_map(|(real, _)| match real.address {
            std::net::SocketAddr::V4(address) => Some(address),
            std::net::SocketAddr::V6(_) => None,
        })
        .collect())
}
