//! Runs a job file through the real `nomad` program and follows it until its deployment has succeeded.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::command::run_command;
use crate::context::Lab;
use crate::ui::Step;
use crate::{env, wait};

const PATIENCE: Duration = Duration::from_secs(2);

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

pub fn standing(lab: &Lab, job: &str) -> Result<Standing> {
    let answer = lab.nomad().get(&format!("job/{job}"), PATIENCE)?;
    if answer.status == 404 {
        return Ok(Standing::Absent);
    }
    let found: Value =
        serde_json::from_str(&answer.body).context("Nomad's answer about the job")?;
    if found["Stop"] == true {
        return Ok(Standing::Absent);
    }
    match deployment(lab, job)? {
        Some(state) if state["Status"] == "successful" => Ok(Standing::Deployed),
        _ => Ok(Standing::Deploying),
    }
}

/// Returns once an allocation of the job runs, telling each stage on the way.
pub fn wait_running(lab: &Lab, job: &str, step: &mut Step) -> Result<()> {
    wait::until(
        &format!("wait for job {job} to run"),
        Duration::from_mins(1),
        || {
            let allocations = get(lab, &format!("job/{job}/allocations"))?;
            let Some(allocation) = newest(&allocations) else {
                step.line("evaluation: waiting for a placement");
                bail!("nothing is placed yet: {}", placement(lab, job))
            };
            let id = allocation["ID"].as_str().unwrap_or_default();
            step.line(&format!(
                "allocation {}: {}",
                &id[..id.len().min(8)],
                allocation["ClientStatus"].as_str().unwrap_or("?")
            ));
            match allocation["ClientStatus"].as_str() {
                Some("running") => Ok(()),
                Some(other) => bail!("allocation {id} is {other}: {}", last_event(allocation)),
                None => bail!("Nomad says nothing of allocation {id}"),
            }
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
        || match deployment(lab, job)? {
            Some(state) if state["Status"] == "successful" => Ok(()),
            Some(state) => {
                let words = state["StatusDescription"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned();
                if matches!(state["Status"].as_str(), Some("failed" | "cancelled")) {
                    failed.replace(Some(words.clone()));
                }
                bail!("deployment: {words}")
            }
            None => bail!("no deployment yet"),
        },
        || failed.borrow().clone(),
    )
}

/// The deployment of the job as it was submitted last, if there is one yet.
fn deployment(lab: &Lab, job: &str) -> Result<Option<Value>> {
    let submitted = get(lab, &format!("job/{job}"))?;
    let evaluations = get(lab, &format!("job/{job}/evaluations"))?;
    if awaits_evaluation(&submitted, &evaluations) {
        return Ok(None);
    }
    let found = get(lab, &format!("job/{job}/deployment"))?;
    Ok((!found.is_null()).then_some(found))
}

/// Until a submission is evaluated the deployment that Nomad tells of is an earlier one's. A submission and its evaluation appear
/// together; one that is not there any more was done long ago.
fn awaits_evaluation(submitted: &Value, evaluations: &Value) -> bool {
    let mut all = evaluations.as_array().into_iter().flatten();
    all.any(|eval| {
        eval["JobModifyIndex"] == submitted["JobModifyIndex"] && eval["Status"] == "pending"
    })
}

/// Why the scheduler placed nothing, as far as it says.
fn placement(lab: &Lab, job: &str) -> String {
    let evaluations = get(lab, &format!("job/{job}/evaluations")).unwrap_or_default();
    let blocked = evaluations
        .as_array()
        .into_iter()
        .flatten()
        .find(|eval| !eval["FailedTGAllocs"].is_null());
    blocked.map_or_else(
        || "no evaluation has failed".to_owned(),
        |eval| eval["FailedTGAllocs"].to_string(),
    )
}

fn newest(allocations: &Value) -> Option<&Value> {
    allocations
        .as_array()?
        .iter()
        .filter(|allocation| allocation["DesiredStatus"] == "run")
        .max_by_key(|allocation| allocation["CreateIndex"].as_u64())
}

fn last_event(allocation: &Value) -> String {
    let tasks = allocation["TaskStates"].as_object().into_iter().flatten();
    let events = tasks.filter_map(|(_, state)| state["Events"].as_array()?.last().cloned());
    let words: Vec<String> = events
        .filter_map(|event| event["DisplayMessage"].as_str().map(str::to_owned))
        .collect();
    if words.is_empty() {
        "no event yet".to_owned()
    } else {
        words.join("; ")
    }
}

fn get(lab: &Lab, path: &str) -> Result<Value> {
    lab.nomad().get_json(path, PATIENCE)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_deployment_counts_once_the_last_submission_is_evaluated() {
        let submitted = json!({ "JobModifyIndex": 7 });
        let evaluation = |submission: u64, status: &str| json!({ "JobModifyIndex": submission, "Status": status });
        let earlier = evaluation(5, "complete");
        let cases = [
            (json!([earlier, evaluation(7, "pending")]), true),
            (json!([earlier, evaluation(7, "complete")]), false),
            (
                json!([evaluation(5, "pending"), evaluation(7, "complete")]),
                false,
            ),
            (json!([]), false),
        ];
        for (evaluations, awaited) in cases {
            assert_eq!(
                awaits_evaluation(&submitted, &evaluations),
                awaited,
                "{evaluations}"
            );
        }
    }
}
