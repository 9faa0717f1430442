//! `network_mode`, `pid_mode` and `ipc_mode = "container:…"`: a container of the task's own allocation, and no other.
//!
//! The engine is asked whose the named container is, and is given its id, so that the name can't become another's.

use bollard::models::ContainerCreateBody;
use nomad_driver_sdk::{DriverError, TaskConfig};

use crate::engine::{Container, ContainerEngine, EngineError};
use crate::name::DriverName;

const CONTAINER: &str = "container:";

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
            .and_then(|mode| mode.strip_prefix(CONTAINER))
        else {
            continue;
        };
        let refused =
            |reason: &str| DriverError::new(format!("{option}: container {name:?} {reason}"));
        let found = match engine.inspect(name).await {
            Ok(found) => found,
            // It may come: tasks of a group start together.
            Err(EngineError::NotFound(_)) => {
                return Err(refused("does not exist").into_recoverable());
            }
            Err(error) => {
                let context = format!("{option}: failed to inspect container {name:?}");
                return Err(DriverError::from_error(context, &error).into_recoverable());
            }
        };
        if !is_of(task, &found) {
            return Err(refused("is not of this allocation"));
        }
        let by_id = format!("{CONTAINER}{}", found.id);
        let endpoints = body
            .networking_config
            .as_mut()
            .and_then(|config| config.endpoints_config.as_mut());
        if let Some(endpoints) = endpoints
            && let Some(endpoint) = mode.as_ref().and_then(|mode| endpoints.remove(mode))
        {
            endpoints.insert(by_id.clone(), endpoint);
        }
        *mode = Some(by_id);
    }
    Ok(())
}

/// By a label that no job can set.
fn is_of(task: &TaskConfig, container: &Container) -> bool {
    let mut names = DriverName::allocation_labels().into_iter();
    !task.alloc_id.is_empty()
        && names.any(|name| container.labels.get(&name) == Some(&task.alloc_id))
}
