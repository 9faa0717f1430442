//! What a large answer costs by each method, beside the same server asked without a virtual service.
//!
//! By masquerade each byte passes the director twice, by direct routing none of the answer does. The director's own count of bytes says
//! so beside the times.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::Series;
use crate::client::{env, http};
use crate::experiment::{Experiment, Measurement, Outcome};
use crate::host::command::run_command;
use crate::host::paths;
use crate::host::wait;
use crate::observe::status;
use crate::part::job;
use crate::report::ui::Ui;
use crate::world::context::Lab;
use crate::world::topology::Node;

const REQUESTS: usize = 50;

/// The articles' large page.
const KIB: u32 = 2_394;

const JOB: &str = "direct";

pub(super) struct Large;

impl Experiment for Large {
    fn hypothesis(&self) -> &'static str {
        "a large answer takes as long by direct routing as without a virtual service, and much longer by masquerade"
    }

    fn run(&self, lab: &Arc<Lab>, _ui: &Ui) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let taken = ["masq", "dr"].map(|method| (method, by(lab, method)));
        job::purge(lab, JOB)?;
        for (method, taken) in taken {
            let taken = taken.with_context(|| format!("by {method}"))?;
            outcome.extend([taken]);
        }
        Ok(outcome)
    }
}

/// Requests by one method, in turn with requests to the server itself.
fn by(lab: &Lab, method: &'static str) -> Result<Outcome> {
    let vip = lab.topology.direct_vip().into();
    let real = run(lab, method, vip)?;
    let sent = sent_by_the_director(lab)?;
    let mut millis = (Vec::new(), Vec::new());
    for _ in 0..REQUESTS {
        for (target, samples) in [(vip, &mut millis.0), (real, &mut millis.1)] {
            samples.push(ask(lab, target)?);
        }
    }
    let sent = sent_by_the_director(lab)?.saturating_sub(sent) / REQUESTS as u64;
    let (through, direct) = (
        Series::new(method, millis.0),
        Series::new("the server itself", millis.1),
    );
    let ratio = through.quantile(0.5) / direct.quantile(0.5);
    let mut outcome = Outcome {
        lines: vec![
            through.to_string(),
            direct.to_string(),
            format!(
                "by {method} the director sent {} KiB for each answer; {ratio:.2} × of the server itself",
                sent / 1024
            ),
        ],
        ..Outcome::default()
    };
    if method == "dr" {
        let what = format!("{KIB} KiB by dr, of the server itself");
        let goal = Measurement::at_most(1.05, "×", what, ratio);
        outcome.measurements.push(goal);
    }
    Ok(outcome)
}

/// Runs the job by that method; gives its real server once it serves by it.
fn run(lab: &Lab, method: &str, vip: SocketAddr) -> Result<SocketAddr> {
    let nomad = lab.decisions().context("the lab isn't up")?.nomad;
    let mut command = Command::new(nomad);
    command.args(["job", "run", "-detach"]);
    for (name, value) in [
        ("vip", vip.to_string()),
        ("forward", method.to_owned()),
        ("large", KIB.to_string()),
        ("release", method.to_owned()),
    ] {
        command.arg("-var").arg(format!("{name}={value}"));
    }
    let file = paths::workspace().join("jobs/direct.nomad.hcl");
    run_command(command.arg(file).envs(env::agents(lab)))?;
    job::wait_deployed(lab, JOB)?;
    let mut found = None;
    wait::until(
        &format!("wait for a single real server by {method}"),
        Duration::from_mins(2),
        || {
            let rows = status::read(lab).rows;
            let reals = rows.iter().filter_map(|row| row.real_server.as_ref());
            let reals: Vec<_> = reals.filter(|real| real.serves(&vip.to_string())).collect();
            let [only] = reals[..] else {
                bail!("there are {}", reals.len());
            };
            ensure!(
                only.forward == method && only.weight > 0,
                "it goes by {}",
                only.forward
            );
            found = Some(only.address);
            Ok(())
        },
        || None,
    )?;
    found.context("a real server")
}

/// Milliseconds until the whole of it was there.
fn ask(lab: &Lab, target: SocketAddr) -> Result<f64> {
    let client = lab.topology.netns(Node::Client.name());
    let begun = Instant::now();
    let answer = http::get_from(
        &client,
        &format!("http://{target}/large"),
        Duration::from_secs(10),
    )?;
    let took = begun.elapsed().as_secs_f64() * 1000.0;
    let whole = KIB as usize * 1024;
    ensure!(
        answer.status == 200 && answer.body.len() == whole,
        "{target}: status {}, {} bytes",
        answer.status,
        answer.body.len()
    );
    Ok(took)
}

fn sent_by_the_director(lab: &Lab) -> Result<u64> {
    let file = "/sys/class/net/eth0/statistics/tx_bytes";
    let output = lab.kernel.capture(&["cat", file])?;
    output.stdout.trim().parse().context("a count of bytes")
}
