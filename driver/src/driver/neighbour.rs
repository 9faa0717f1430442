//! `network_mode`, `pid_mode` and `ipc_mode = "container:…"`: a container of the task's own allocation, and no other.
//!
//! The engine is asked whose the named container is, and is given its id, so that the name can't become another's.

use bollard::models::ContainerCreateBody;
use nomad_driver_sdk::{DriverError, TaskConfig};

use crate::engine::{Container, ContainerEngine, EngineError};
use crate::name::DriverName;

const CONTAINER_PREFIX: &str = "container:";

/// Replaces the names by ids.
pub(super) async fn resolve<E: ContainerEngine>(
    engine: &E,
    task: &TaskConfig,
    body: &mut ContainerCreateBody,
) -> Result<(), DriverError> {
    let Some(host) = body.host_config.as_mut() else {
        return Ok(());
    };
    let modes = [
        ("network_mode", &mut host.network_mode),
        ("pid_mode", &mut host.pid_mode),
        ("ipc_mode", &mut host.ipc_mode),
    ];
    for (option, mode) in modes {
        let Some(name) = mode
            .as_deref()
            .and_then(|mode| mode.strip_prefix(CONTAINER_PREFIX))
        else {
            continue;
        };
        let refusal =
            |reason: &str| DriverError::new(format!("{option}: container {name:?} {reason}"));
        let container = match engine.inspect(name).await {
            Ok(container) => container,
            // It may come: tasks of a group start together.
            Err(EngineError::NotFound(_)) => {
                return Err(refusal("does not exist").into_recoverable());
            }
            Err(error) => {
                let context = format!("{option}: failed to inspect container {name:?}");
                return Err(DriverError::from_error(context, &error).into_recoverable());
            }
        };
        if !is_neighbour(task, &container) {
            return Err(refusal("is not of this allocation"));
        }
        let mode_by_id = format!("{CONTAINER_PREFIX}{}", container.id);
        let endpoints = body
            .networking_config
            .as_mut()
            .and_then(|config| config.endpoints_config.as_mut());
        if let Some(endpoints) = endpoints
            && let Some(endpoint) = mode.as_ref().and_then(|mode| endpoints.remove(mode))
        {
            endpoints.insert(mode_by_id.clone(), endpoint);
        }
        *mode = Some(mode_by_id);
    }
    Ok(())
}

/// The label that says so is one that no job can set.
fn is_neighbour(task: &TaskConfig, container: &Container) -> bool {
    let mut names = DriverName::allocation_labels().into_iter();
    !task.alloc_id.is_empty()
        && names.any(|name| container.labels.get(&name) == Some(&task.alloc_id))
}
