//! Is a request slower through the syncer's rules than through the same rules set by hand?
//!
//! A second VIP, outside the ranges that the syncer owns, is programmed by hand for the same real server and the same method;
//! requests alternate between the two, one at a time, and the hand's rules go again. By which method: `cargo lab up --forward dr`.

mod hand;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};

use super::Series;
use crate::experiment::{Experiment, Measurement, Outcome};
use crate::host::netns;
use crate::observe::{load, status};
use crate::report::ui::Ui;
use crate::world::context::Lab;
use crate::world::topology::Node;

const REQUESTS: usize = 1000;

pub(super) struct Vip;

impl Experiment for Vip {
    fn hypothesis(&self) -> &'static str {
        "a request through the VIP takes as long as through the same rules set by hand"
    }

    fn run(&self, lab: &Arc<Lab>, _ui: &Ui) -> Result<Outcome> {
        let rows = status::read(lab).rows;
        let vip = lab.topology.vip();
        let real = rows
            .iter()
            .filter_map(|row| row.real_server.as_ref())
            .find(|real| real.serves(&vip.to_string()))
            .context("hello-world has no real server; is the lab up?")?;
        let rules = hand::Rules::of(lab, real)?;
        let set = rules.set();
        let taken = set.and_then(|()| take(lab, vip.into()));
        let unset = rules.unset();
        let (ours, hand) = taken?;
        unset?;
        let (ours, hand) = (Series::new("syncer", ours), Series::new("by hand", hand));
        let ratio = ours.quantile(0.5) / hand.quantile(0.5);
        Ok(Outcome {
            lines: vec![ours.to_string(), hand.to_string()],
            measurements: vec![Measurement::at_most(
                1.05,
                "×",
                format!("ratio of medians, {}", real.forward),
                ratio,
            )],
        })
    }
}

fn take(lab: &Lab, ours: SocketAddr) -> Result<(Vec<f64>, Vec<f64>)> {
    let hand = SocketAddr::new(hand::VIP.into(), 80);
    netns::within(&lab.topology.netns(Node::Client.name()), || {
        let mut millis = (Vec::new(), Vec::new());
        for _ in 0..REQUESTS {
            for (target, samples) in [(ours, &mut millis.0), (hand, &mut millis.1)] {
                let start = Instant::now();
                load::request(target).with_context(|| format!("ask {target}"))?;
                samples.push(start.elapsed().as_secs_f64() * 1000.0);
            }
        }
        Ok(millis)
    })?
}
