//! Is a request slower through the syncer's rules than through the same rules set by hand?
//!
//! A second VIP, outside the ranges that the syncer owns, is programmed with `ipvsadm` and `iptables` as the article does;
//! requests alternate between the two, one at a time, and the hand's rules go again.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::Series;
use crate::experiment::{Experiment, Measurement, Outcome};
use crate::host::{command, netns};
use crate::observe::{load, status};
use crate::report::ui::Ui;
use crate::world::context::Lab;
use crate::world::topology::Node;

const REQUESTS: usize = 1000;

/// From the second half of the benchmarking range, which no profile uses.
const BY_HAND: Ipv4Addr = Ipv4Addr::new(198, 19, 255, 29);

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
            .find(|row| {
                row.real_server
                    .as_ref()
                    .is_some_and(|real| real.vip.ends_with(&vip.to_string()))
            })
            .context("hello-world has no real server; is the lab up?")?
            .address;
        set(lab, real, true)?;
        let taken = take(lab, vip.into());
        set(lab, real, false)?;
        let (ours, hand) = taken?;
        let (ours, hand) = (Series::new("syncer", ours), Series::new("by hand", hand));
        let ratio = ours.quantile(0.5) / hand.quantile(0.5);
        Ok(Outcome {
            lines: vec![ours.to_string(), hand.to_string()],
            measurements: vec![Measurement::at_most(1.1, "×", "ratio of medians", ratio)],
        })
    }
}

fn take(lab: &Lab, ours: SocketAddr) -> Result<(Vec<f64>, Vec<f64>)> {
    let hand = SocketAddr::new(BY_HAND.into(), 80);
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

/// The article's rules, set or removed, in the guest and on the client's way to it.
fn set(lab: &Lab, real: SocketAddr, present: bool) -> Result<()> {
    let (vip, director) = (BY_HAND, lab.topology.node_address(Node::Director));
    let masquerade = format!("POSTROUTING -m ipvs --vaddr {vip} --vport 80 -j MASQUERADE");
    let script = if present {
        format!(
            "ip addr add {vip}/32 dev eth0 && iptables-legacy -t nat -A {masquerade} && \
             ipvsadm -A -t {vip}:80 -s rr && ipvsadm -a -t {vip}:80 -r {real} -m"
        )
    } else {
        format!(
            "ipvsadm -D -t {vip}:80; iptables-legacy -t nat -D {masquerade}; ip addr del {vip}/32 dev eth0"
        )
    };
    let output = lab.kernel.capture(&["sh", "-c", &script])?;
    ensure!(output.code == 0, "rules by hand: {}", output.stderr.trim());
    let verb = if present { "add" } else { "del" };
    let client = lab.topology.netns(Node::Client.name());
    command::run(
        "ip",
        &[
            "-n",
            &client,
            "route",
            verb,
            &format!("{vip}/32"),
            "via",
            &director.to_string(),
        ],
    )
    .map(drop)
}
