//! The part that a start and a recovery share: who hears of the task, how its stop waits, where its output goes.

use std::sync::Arc;
use std::time::Duration;

use nomad_driver_sdk::{DriverError, TaskConfig};

use super::DockerDriver;
use crate::announce::{Announcer, Subject};
use crate::config;
use crate::config::options::TaskOptions;
use crate::engine::{ContainerEngine, ContainerId};
use crate::logs::{Paths, PlaceError, Pump};
use crate::spec;

impl<E: ContainerEngine> DockerDriver<E> {
    pub(super) fn announcer(&self, task: &TaskConfig, options: &TaskOptions) -> Announcer {
        let ports = spec::published_ports(task, options, &options.network_mode)
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
        let drain = config::duration("drain", &options.drain)
            .map_err(|error| DriverError::new(error.to_string()))?;
        let limit = self.settings.config().drain_max;
        if drain > limit {
            return Err(DriverError::new(format!(
                "drain is {:?}, more than the agent's plugin configuration allows (syncer.drain_max: {limit:?})",
                options.drain
            )));
        }
        Ok(drain)
    }

    /// The drain of a task that runs already, within the limit of now.
    pub(super) fn drain_or_default(&self, options: &TaskOptions) -> Duration {
        let config = self.settings.config();
        let wish = config::duration("drain", &options.drain).ok();
        wish.unwrap_or(config.drain).min(config.drain_max)
    }

    /// `None`: nobody collects this task's logs. To be made before the container starts.
    pub(super) async fn pump(
        &self,
        engine: &Arc<E>,
        task: &TaskConfig,
        container: &ContainerId,
    ) -> Result<Option<Pump<E>>, PlaceError> {
        let is_collection_off = self.settings.config().disable_log_collection;
        let Some(paths) = Paths::of(task, is_collection_off) else {
            return Ok(None);
        };
        let (events, task) = (self.events.clone(), task.clone());
        Ok(Some(Pump {
            engine: Arc::clone(engine),
            container: container.clone(),
            place: paths.open().await?,
            report: Arc::new(move |loss| events.tell(&task, &loss, &[])),
        }))
    }
}
