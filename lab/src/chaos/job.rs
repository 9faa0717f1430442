//! The job under test: hello-world with a quick update and a quick restart, its state of rest, and changes of it.
//!
//! Asked from inside node1, so that a change arrives also while node1's cable is pulled.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::episode::Change;
use crate::api::Api;
use crate::context::Lab;
use crate::topology::Node;
use crate::{part, paths};

/// The articles' job.
pub(super) const JOB: &str = "hello-world";
const GROUP: &str = "servers";

/// The service that Nomad registers for it.
pub(super) const SERVICE: &str = "hello-world-servers";

const PATIENCE: Duration = Duration::from_secs(2);

/// Asks Nomad for the job with so many allocations. `fresh` makes a new version of it in any case, which is the way out
/// of a deployment that has failed.
pub(super) fn want(lab: &Lab, count: u32, fresh: Option<&str>) -> Result<()> {
    let known = nomad(lab).get(&format!("job/{JOB}"), PATIENCE);
    if known.context("ask Nomad")?.status == 404 {
        part::job::submit(lab, &paths::workspace().join("jobs/hello-world.nomad.hcl"))?;
    }
    let mut job = get(lab, &format!("job/{JOB}"))?;
    let second = 1_000_000_000_u64;
    job["Stop"] = json!(false);
    if let Some(mark) = fresh {
        job["Meta"]["chaos"] = json!(mark);
    }
    let group = &mut job["TaskGroups"][0];
    group["Count"] = json!(count);
    group["Update"]["MaxParallel"] = json!(1);
    group["Update"]["MinHealthyTime"] = json!(second);
    // A task that could not be started because its engine was away starts soon after the engine is back.
    group["RestartPolicy"] = json!({
        "Attempts": 100, "Interval": 600 * second, "Delay": second, "Mode": "delay",
    });
    post(lab, "jobs", &json!({ "Job": job }))
}

/// Asks for a change. Asking twice changes nothing more.
pub(super) fn change(lab: &Lab, change: Change, mark: &str, one: &str) -> Result<()> {
    let count = |count: u32| {
        let scale = json!({ "Target": { "Group": GROUP }, "Count": count });
        post(lab, &format!("job/{JOB}/scale"), &scale)
    };
    match change {
        Change::ScaleUp => count(super::episode::COUNT * 2),
        Change::ScaleDown => count(super::episode::COUNT - 1),
        Change::StopOne => post(lab, &format!("allocation/{one}/stop"), &json!({})),
        Change::RollingUpdate => {
            let mut job = get(lab, &format!("job/{JOB}"))?;
            job["Meta"]["chaos"] = json!(mark);
            post(lab, "jobs", &json!({ "Job": job }))
        }
    }
}

/// Whether nothing more is to come: why not, if not.
pub(super) fn settled(lab: &Lab) -> Result<()> {
    let deployment = get(lab, &format!("job/{JOB}/deployment"))?;
    match deployment["Status"].as_str() {
        None | Some("successful" | "cancelled" | "failed") => {}
        Some(other) => bail!("deployment {other}"),
    }
    let evaluations = get(lab, &format!("job/{JOB}/evaluations"))?;
    let open = evaluations
        .as_array()
        .into_iter()
        .flatten()
        .find(|evaluation| evaluation["Status"] == "pending" || evaluation["Status"] == "blocked");
    match open {
        Some(evaluation) => bail!("evaluation {} {}", evaluation["ID"], evaluation["Status"]),
        None => Ok(()),
    }
}

/// Every allocation of the job that Nomad remembers.
pub(super) fn allocations(lab: &Lab) -> Result<Value> {
    get(lab, "allocations?namespace=*&resources=true")
}

fn get(lab: &Lab, path: &str) -> Result<Value> {
    nomad(lab).get_json(path, PATIENCE).context("ask Nomad")
}

fn post(lab: &Lab, path: &str, body: &Value) -> Result<()> {
    let posted = nomad(lab).post_json(path, body, PATIENCE);
    posted.map(drop).context("ask Nomad")
}

fn nomad(lab: &Lab) -> Api {
    lab.inside(Node::Node1, lab.nomad())
}
