//! The job under test: hello-world with a quick update and a quick restart, its state of rest, and changes of it.
//!
//! Asked from inside node1, so that a change arrives also while node1's cable is pulled.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::episode::Change;
use crate::client::nomad::{ANSWER_TIMEOUT, Allocation, Nomad};
use crate::host::paths;
use crate::part;
use crate::world::context::Lab;
use crate::world::topology::Node;

/// The articles' job.
pub(super) const JOB: &str = "hello-world";
const GROUP: &str = "servers";

/// The service that Nomad registers for it.
pub(super) const SERVICE: &str = "hello-world-servers";

/// Asks Nomad for the job with so many allocations. `fresh` makes a new version of it in any case, which is the way out
/// of a deployment that has failed.
pub(super) fn want(lab: &Lab, count: u32, fresh: Option<&str>) -> Result<()> {
    if nomad(lab).job(JOB).context("ask Nomad")?.is_none() {
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
pub(super) fn change(lab: &Lab, change: Change, mark: &str, instance: &str) -> Result<()> {
    let count = |count: u32| {
        let scale = json!({ "Target": { "Group": GROUP }, "Count": count });
        post(lab, &format!("job/{JOB}/scale"), &scale)
    };
    match change {
        Change::ScaleUp => count(super::episode::COUNT * 2),
        Change::ScaleDown => count(super::episode::COUNT - 1),
        Change::StopOne => post(lab, &format!("allocation/{instance}/stop"), &json!({})),
        Change::RollingUpdate => {
            let mut job = get(lab, &format!("job/{JOB}"))?;
            job["Meta"]["chaos"] = json!(mark);
            post(lab, "jobs", &json!({ "Job": job }))
        }
    }
}

/// Whether nothing more is to come: why not, if not.
pub(super) fn settled(lab: &Lab) -> Result<()> {
    let nomad = nomad(lab);
    if let Some(deployment) = nomad.deployment(JOB).context("ask Nomad")?
        && !matches!(
            deployment.status.as_str(),
            "successful" | "cancelled" | "failed"
        )
    {
        bail!("deployment {}", deployment.status);
    }
    let evaluations = nomad.evaluations(JOB).context("ask Nomad")?;
    let mut open = evaluations
        .iter()
        .filter(|evaluation| matches!(evaluation.status.as_str(), "pending" | "blocked"));
    match open.next() {
        Some(evaluation) => bail!("evaluation {} {}", evaluation.id, evaluation.status),
        None => Ok(()),
    }
}

/// Every allocation of the job that Nomad remembers.
pub(super) fn allocations(lab: &Lab) -> Result<Vec<Allocation>> {
    let mut allocations = nomad(lab).allocations().context("ask Nomad")?;
    allocations.retain(|allocation| allocation.job == JOB);
    Ok(allocations)
}

fn get(lab: &Lab, path: &str) -> Result<Value> {
    nomad(lab)
        .get_json(path, ANSWER_TIMEOUT)
        .context("ask Nomad")
}

fn post(lab: &Lab, path: &str, body: &Value) -> Result<()> {
    let posted = nomad(lab).post_json(path, body, ANSWER_TIMEOUT);
    posted.map(drop).context("ask Nomad")
}

fn nomad(lab: &Lab) -> Nomad {
    lab.nomad().inside(lab, Node::Node1)
}
