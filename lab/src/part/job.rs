//! Runs a job file through the real `nomad` program and follows it until its deployment has succeeded.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::client::env;
use crate::client::nomad::{Allocation, Deployment, Evaluation, Job};
use crate::host::command::run_command;
use crate::host::wait;
use crate::report::ui::Step;
use crate::world::context::Lab;

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Absent,
    /// Its latest deployment is still under way.
    Deploying,
    /// Wanted, and deployed.
    Deployed,
}

/// Submits the file. Nomad's own words when it refuses.
pub fn submit(lab: &Lab, file: &Path) -> Result<()> {
    let nomad = lab.decisions().context("the lab isn't up")?.nomad;
    let mut command = Command::new(nomad);
    command
        .args(["job", "run", "-detach"])
        .arg(file)
        .envs(env::agents(lab));
    run_command(&mut command).map(drop)
}

/// Stops the job and makes Nomad forget it.
pub fn purge(lab: &Lab, job: &str) -> Result<()> {
    let nomad = lab.decisions().context("the lab isn't up")?.nomad;
    let mut command = Command::new(nomad);
    command
        .args(["job", "stop", "-purge", "-detach", job])
        .envs(env::agents(lab));
    run_command(&mut command).map(drop)
}

/// Stops an allocation; Nomad places another.
pub fn replace(lab: &Lab, allocation: &str) -> Result<()> {
    let nomad = lab.decisions().context("the lab isn't up")?.nomad;
    let mut command = Command::new(nomad);
    command
        .args(["alloc", "stop", "-detach", allocation])
        .envs(env::agents(lab));
    run_command(&mut command).map(drop)
}

pub fn standing(lab: &Lab, job: &str) -> Result<Standing> {
    match lab.nomad().job(job)? {
        None | Some(Job { stop: true, .. }) => Ok(Standing::Absent),
        Some(submitted) => Ok(match deployment(lab, job, &submitted)? {
            Some(deployment) if deployment.status == "successful" => Standing::Deployed,
            _ => Standing::Deploying,
        }),
    }
}

/// Returns once an allocation of the job runs, telling each stage on the way.
pub fn wait_running(lab: &Lab, job: &str, step: &mut Step) -> Result<()> {
    wait::until(
        &format!("wait for job {job} to run"),
        Duration::from_mins(1),
        || {
            let allocations = lab.nomad().allocations_of(job)?;
            let Some(allocation) = newest(&allocations) else {
                step.line("evaluation: waiting for a placement");
                bail!("nothing is placed yet: {}", placement(lab, job))
            };
            let (id, status) = (&allocation.id, &allocation.client_status);
            step.line(&format!("allocation {}: {status}", &id[..id.len().min(8)]));
            if status != "running" {
                bail!("allocation {id} is {status}: {}", last_event(allocation));
            }
            Ok(())
        },
        || None,
    )
}

/// Returns once the deployment has succeeded; a failed one is an error at once.
pub fn wait_deployed(lab: &Lab, job: &str) -> Result<()> {
    let failed = std::cell::RefCell::new(None);
    wait::until(
        &format!("wait for job {job} to be healthy"),
        Duration::from_mins(2),
        || {
            let submitted = lab.nomad().job(job)?.context("there is no such job")?;
            let deployment = deployment(lab, job, &submitted)?.context("no deployment yet")?;
            let words = deployment.status_description;
            match deployment.status.as_str() {
                "successful" => return Ok(()),
                "failed" | "cancelled" => drop(failed.replace(Some(words.clone()))),
                _ => {}
            }
            bail!("deployment: {words}")
        },
        || failed.borrow().clone(),
    )
}

/// The deployment of the job as it was submitted last, if there is one yet.
fn deployment(lab: &Lab, job: &str, submitted: &Job) -> Result<Option<Deployment>> {
    if awaits_evaluation(submitted, &lab.nomad().evaluations(job)?) {
        return Ok(None);
    }
    lab.nomad().deployment(job)
}

/// Until a submission is evaluated the deployment that Nomad tells of is an earlier one's. A submission and its evaluation appear
/// together; one that is not there any more was done long ago.
fn awaits_evaluation(submitted: &Job, evaluations: &[Evaluation]) -> bool {
    evaluations.iter().any(|evaluation| {
        evaluation.job_modify_index == submitted.job_modify_index && evaluation.status == "pending"
    })
}

/// Why the scheduler placed nothing, as far as it says.
fn placement(lab: &Lab, job: &str) -> String {
    let evaluations = lab.nomad().evaluations(job).unwrap_or_default();
    let blocked = evaluations
        .iter()
        .find(|evaluation| !evaluation.failures.is_null());
    blocked.map_or_else(
        || "no evaluation has failed".to_owned(),
        |evaluation| evaluation.failures.to_string(),
    )
}

fn newest(allocations: &[Allocation]) -> Option<&Allocation> {
    allocations
        .iter()
        .filter(|allocation| allocation.is_wanted())
        .max_by_key(|allocation| allocation.create_index)
}

fn last_event(allocation: &Allocation) -> String {
    let words: Vec<&str> = allocation
        .task_states()
        .filter_map(|(_, state)| Some(state.events().last()?.display_message.as_str()))
        .collect();
    if words.is_empty() {
        "no event yet".to_owned()
    } else {
        words.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_deployment_counts_once_the_last_submission_is_evaluated() {
        let submitted = Job {
            stop: false,
            job_modify_index: 7,
        };
        let evaluation = |submission, status: &str| Evaluation {
            id: "e".to_owned(),
            status: status.to_owned(),
            job_modify_index: submission,
            failures: Value::Null,
        };
        let earlier = evaluation(5, "complete");
        let cases = [
            (vec![earlier.clone(), evaluation(7, "pending")], true),
            (vec![earlier, evaluation(7, "complete")], false),
            (
                vec![evaluation(5, "pending"), evaluation(7, "complete")],
                false,
            ),
            (vec![], false),
        ];
        for (evaluations, awaited) in cases {
            assert_eq!(
                awaits_evaluation(&submitted, &evaluations),
                awaited,
                "{evaluations:?}"
            );
        }
    }
}
