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
use crate::fingerprint::Current;
use crate::name::DriverName;
use crate::task::Tasks;

/// Never ends.
pub async fn run<E: ContainerEngine>(name: DriverName, current: Current<E>, tasks: Arc<Tasks>) {
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
    let running = match engine
        .list_running(&DriverName::owner_label(), name.as_str())
        .await
    {
        Ok(running) => running,
        Err(error) => return debug!(%error, "cannot look for dangling containers now"),
    };
    let mine: Vec<_> = tasks
        .list()
        .iter()
        .map(|task| task.container.clone())
        .collect();
    for found in running
        .iter()
        .filter(|found| !mine.contains(&found.id) && dangling(found, node, rule, SystemTime::now()))
    {
        let container = found.id.short();
        if rule.dry_run {
            info!(
                container,
                "a container without a task would be removed (dry_run)"
            );
            continue;
        }
        match engine.remove(&found.id).await {
            Ok(()) => info!(container, "removed a container without a task"),
            Err(error) => warn!(%error, container, "a container without a task can't be removed"),
        }
    }
}

fn dangling(found: &ListEntry, node: &str, rule: Reap, now: SystemTime) -> bool {
    let of_node = found
        .labels
        .get(&DriverName::node_label())
        .is_some_and(|label| label == node);
    // A clock that went back makes it young, which is the safe side.
    of_node
        && now
            .duration_since(found.created)
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
        let found = |node: &str, age: Duration| ListEntry {
            id: ContainerId("c".into()),
            created: now - age,
            labels: HashMap::from([(DriverName::node_label(), node.to_owned())]),
        };
        assert!(dangling(
            &found("n1", Duration::from_mins(6)),
            "n1",
            rule,
            now
        ));
        assert!(!dangling(
            &found("n1", Duration::from_mins(4)),
            "n1",
            rule,
            now
        ));
        assert!(!dangling(
            &found("n2", Duration::from_mins(6)),
            "n1",
            rule,
            now
        ));
        let unlabelled = ListEntry {
            labels: HashMap::new(),
            ..found("n1", Duration::from_mins(6))
        };
        assert!(!dangling(&unlabelled, "n1", rule, now));
    }
}
