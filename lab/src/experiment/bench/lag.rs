//! From the moment Consul's answer arrives to the moment the kernel is programmed.
//!
//! Both ends are seen by a watcher inside the director's kernel, never by the syncer, which goes on as it is and knows
//! nothing of it. Two hundred changes of one instance's health are made from outside.

mod watch;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use super::Series;
use crate::experiment::{Experiment, Measurement, Outcome};
use crate::report::ui::Ui;
use crate::world::context::Lab;
use crate::world::topology::Node;

pub use watch::watch;

const CHANGES: usize = 200;

/// More than the watcher gives itself.
const WATCH_LIMIT: Duration = Duration::from_secs(90);

/// The service whose health is changed.
const SERVICE: &str = "lag-probe";

pub(super) struct Lag;

impl Experiment for Lag {
    fn hypothesis(&self) -> &'static str {
        "the kernel is programmed 5 ms after Consul's answer arrives, in 99 of 100 changes"
    }

    fn run(&self, lab: &Arc<Lab>, _ui: &Ui) -> Result<Outcome> {
        let program = std::env::current_exe()
            .context("find the own program")?
            .display()
            .to_string();
        let vip = format!("{}:80", lab.topology.third_vip());
        let real = lab.topology.node_address(Node::Node1);
        register(lab, &real.to_string(), &vip)?;
        let consul = lab.topology.node_address(Node::Node1).to_string();
        let watch = [
            program.as_str(),
            "internal",
            "watch-lag",
            consul.as_str(),
            vip.as_str(),
        ];
        let watched = std::thread::scope(|scope| {
            let watching = scope.spawn(|| lab.kernel.capture_within(&watch, WATCH_LIMIT));
            let changed = change(lab);
            let watched = watching
                .join()
                .unwrap_or_else(|_| Err(anyhow!("the watcher's thread panicked")));
            changed.and(watched)
        });
        deregister(lab)?;
        let output = watched?;
        ensure!(output.code == 0, "the watcher: {}", output.stderr.trim());
        let millis: Vec<f64> =
            serde_json::from_str(output.stdout.trim()).context("read the watcher's answer")?;
        let lag = Series::new("Consul's answer → kernel programmed", millis);
        let p99 = Measurement::at_most(5.0, "ms", "p99", lag.quantile(0.99));
        Ok(Outcome {
            lines: vec![lag.to_string()],
            measurements: vec![p99],
        })
    }
}

fn put(lab: &Lab, path: &str, body: &serde_json::Value) -> Result<()> {
    let path = format!("agent/{path}");
    lab.consul().put(&path, body, Duration::from_secs(5))
}

fn register(lab: &Lab, address: &str, vip: &str) -> Result<()> {
    let body = serde_json::json!({
        "ID": SERVICE, "Name": SERVICE, "Address": address, "Port": 4646,
        "Tags": [format!("ipvs.vip={vip}"), "ipvs.scheduler=rr", "ipvs.forward=masq"],
        "Check": { "CheckID": SERVICE, "TTL": "10m", "Status": "passing" },
    });
    put(lab, "service/register", &body)
}

fn deregister(lab: &Lab) -> Result<()> {
    put(
        lab,
        &format!("service/deregister/{SERVICE}"),
        &serde_json::Value::Null,
    )
}

/// Passing and critical in turn: weight up, weight 0.
fn change(lab: &Lab) -> Result<()> {
    std::thread::sleep(Duration::from_secs(3));
    for number in 0..CHANGES {
        let state = if number % 2 == 0 {
            "critical"
        } else {
            "passing"
        };
        put(
            lab,
            &format!("check/update/{SERVICE}"),
            &serde_json::json!({ "Status": state }),
        )?;
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
