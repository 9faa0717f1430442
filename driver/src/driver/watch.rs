//! What a started and a recovered task have in common: who hears of it, how its stop waits, where its output goes.

use std::sync::Arc;
use std::time::Duration;

use nomad_driver_sdk::{DriverError, TaskConfig};

use super::DockerDriver;
use crate::announce::{Announcer, Subject};
use crate::config;
use crate::engine::{ContainerEngine, ContainerId};
use crate::logs::{Paths, Pump};
use crate::spec;
use crate::task::options::TaskOptions;

impl<E: ContainerEngine> DockerDriver<E> {
    pub(super) fn announcer(&self, task: &TaskConfig, options: &TaskOptions) -> Announcer {
        let ports = spec::published(task, options, &options.network_mode)
            .unwrap_or_default()
            .0;
        let subject = Subject {
            alloc_id: task.alloc_id.clone(),
            task: task.name.clone(),
            ports,
        };
        Announcer::new(&self.settings.config().syncer_socket, subject)
    }

    /// The job's own wish, else the plugin's.
    pub(super) fn drain(&self, options: &TaskOptions) -> Result<Duration, DriverError> {
        if options.drain.is_empty() {
            return Ok(self.settings.config().drain);
        }
        config::duration("drain", &options.drain)
            .map_err(|error| DriverError::new(error.to_string()))
    }

    /// `None`: nobody collects this task's logs.
    pub(super) fn pump(
        &self,
        engine: &Arc<E>,
        task: &TaskConfig,
        container: &ContainerId,
    ) -> Option<Pump<E>> {
        let paths = Paths::of(task, self.settings.config().disable_log_collection)?;
        let (events, task) = (self.events.clone(), task.clone());
        Some(Pump {
            engine: Arc::clone(engine),
            container: container.clone(),
            paths,
            report: Box::new(move |loss| events.tell(&task, &loss, &[])),
        })
    }
}
