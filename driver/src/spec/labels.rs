//! Labels: the user's, then ours, which can't be overridden.

use std::collections::HashMap;

use nomad_driver_sdk::TaskConfig;

use super::Inputs;
use crate::name::DriverName;

pub(super) fn all(inputs: Inputs<'_>) -> HashMap<String, String> {
    let Inputs {
        task,
        options,
        plugin,
        driver,
        ..
    } = inputs;
    let prefix = driver.label_prefix();
    let mut labels: HashMap<_, _> = options
        .labels
        .iter()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    labels.insert(format!("{prefix}.alloc_id"), task.alloc_id.clone());
    labels.insert(DriverName::owner_label(), driver.to_string());
    labels.insert(DriverName::node_label(), task.node_id.clone());
    for (name, value) in extra(task) {
        if plugin
            .extra_labels
            .iter()
            .any(|pattern| matches(pattern, name))
        {
            labels.insert(format!("{prefix}.{name}"), value.to_owned());
        }
    }
    labels
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

/// `*` stands for any run of characters.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => match text.strip_prefix(head) {
            None => false,
            Some(rest) if tail.is_empty() => !rest.is_empty() || head == text,
            Some(rest) => rest
                .char_indices()
                .map(|(at, _)| at)
                .chain([rest.len()])
                .any(|at| matches(tail, &rest[at..])),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, text, expected) in [
            ("task*", "task_name", true),
            ("task*", "task_group_name", true),
            ("*", "anything", true),
            ("*_name", "job_name", true),
            ("job*e", "job_name", true),
            ("job_name", "job_name", true),
            ("job", "job_name", false),
            ("*x*", "job_name", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
