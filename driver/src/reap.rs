//! Removes containers that no task owns: those of a start that was cut off, or of an agent that forgot them.
//!
//! Only this driver's own (by its label, which carries its name), only this node's, only running ones older than the
//! grace. The node's id is learnt from the first task, so nothing is touched before there was one.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::config::Reap;
use crate::engine::{ContainerEngine, ListEntry};
use crate::fingerprint::CurrentEngine;
use crate::name::DriverName;
use crate::task::Tasks;

/// Never ends.
pub async fn run<E: ContainerEngine>(
    name: DriverName,
    current: CurrentEngine<E>,
    tasks: Arc<Tasks>,
) {
    let mut first = true;
    loop {
        let settings = current();
        let rule = settings
            .as_ref()
            .map_or(Reap::OFF, |(_, config)| config.reap);
        sleep(if first {
            rule.period.max(rule.grace)
        } else {
            rule.period
        })
        .await;
        first = false;
        if let (true, Ok((engine, _)), Some(node)) = (rule.enabled, settings, tasks.node_id()) {
            scan(engine.as_ref(), &name, &node, rule, &tasks).await;
        }
    }
}

async fn scan<E: ContainerEngine>(
    engine: &E,
    name: &DriverName,
    node: &str,
    rule: Reap,
    tasks: &Tasks,
) {
    let containers = match engine
        .list_running(&DriverName::owner_label(), name.as_str())
        .await
    {
        Ok(containers) => containers,
        Err(error) => return debug!(%error, "cannot look for dangling containers now"),
    };
    let task_containers: Vec<_> = tasks
        .list()
        .iter()
        .map(|task| task.container.clone())
        .collect();
    for entry in containers.iter().filter(|entry| {
        !task_containers.contains(&entry.id) && is_dangling(entry, node, rule, SystemTime::now())
    }) {
        let container = entry.id.short();
        if rule.dry_run {
            info!(
                container,
                "a container without a task would be removed (dry_run)"
            );
            continue;
        }
        match engine.remove(&entry.id).await {
            Ok(()) => info!(container, "removed a container without a task"),
            Err(error) => warn!(%error, container, "a container without a task can't be removed"),
        }
    }
}

fn is_dangling(entry: &ListEntry, node: &str, rule: Reap, now: SystemTime) -> bool {
    let of_node = entry
        .labels
        .get(&DriverName::node_label())
        .is_some_and(|label| label == node);
    // A clock that went back makes it young, which is the safe side.
    of_node
        && now
            .duration_since(entry.created)
            .is_ok_and(|age| age >= rule.grace)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use super::*;
    use crate::engine::ContainerId;

    #[test]
    fn only_old_containers_of_this_node_are_dangling() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(1);
        let rule = Reap {
            grace: Duration::from_mins(5),
            ..Reap::OFF
        };
        let entry = |node: &str, age: Duration| ListEntry {
            id: ContainerId("c".into()),
            created: now - age,
            labels: HashMap::from([(DriverName::node_label(), node.to_owned())]),
        };
        assert!(is_dangling(
            &entry("n1", Duration::from_mins(6)),
            "n1",
            rule,
            now
        ));
        assert!(!is_dangling(
            &entry("n1", Duration::from_mins(4)),
            "n1",
            rule,
            now
        ));
        assert!(!is_dangling(
            &entry("n2", Duration::from_mins(6)),
            "n1",
            rule,
            now
        ));
        let bare = ListEntry {
            labels: HashMap::new(),
            ..entry("n1", Duration::from_mins(6))
        };
        assert!(!is_dangling(&bare, "n1", rule, now));
    }
}
