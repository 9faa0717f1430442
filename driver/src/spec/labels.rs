//! Labels: the user's, then ours. Names that begin as ours do are ours alone, whether we set them or not.

use std::collections::HashMap;

use nomad_driver_sdk::TaskConfig;

use super::Inputs;
use crate::name::DriverName;
use crate::pattern::matches;

/// The labels, and a remark about each that the job may not set.
pub(super) fn of(inputs: Inputs<'_>) -> (HashMap<String, String>, Vec<String>) {
    let Inputs {
        task,
        options,
        plugin,
        driver,
        ..
    } = inputs;
    let mut own_labels = HashMap::from([
        (label(inputs, "alloc_id"), task.alloc_id.clone()),
        (DriverName::owner_label(), driver.to_string()),
        (DriverName::node_label(), task.node_id.clone()),
    ]);
    for (name, value) in extra(task) {
        let is_extra = |pattern: &String| matches(pattern, name);
        if plugin.extra_labels.iter().any(is_extra) {
            own_labels.insert(label(inputs, name), value.to_owned());
        }
    }
    let (forgeries, mut labels): (HashMap<_, _>, HashMap<_, _>) = options
        .labels
        .clone()
        .into_iter()
        .partition(|(key, _)| DriverName::is_reserved_label(key));
    let mut remarks: Vec<_> = forgeries
        .iter()
        .filter(|(key, value)| own_labels.get(*key) != Some(value))
        .map(|(key, _)| format!("label {key:?} of the job is left out: it is the driver's to set"))
        .collect();
    remarks.sort();
    labels.extend(own_labels);
    (labels, remarks)
}

fn label(inputs: Inputs<'_>, name: &str) -> String {
    format!("{}.{name}", inputs.driver.label_prefix())
}

fn extra(task: &TaskConfig) -> [(&'static str, &str); 8] {
    // The field of this name is never filled by the agent; the environment has it.
    let parent = task
        .env
        .get("NOMAD_JOB_PARENT_ID")
        .map_or("", String::as_str);
    [
        ("job_name", &task.job_name),
        ("job_id", &task.job_id),
        ("parent_job_id", parent),
        ("task_group_name", &task.task_group_name),
        ("task_name", &task.name),
        ("namespace", &task.namespace),
        ("node_name", &task.node_name),
        ("node_id", &task.node_id),
    ]
}
