//! A container that is being started: removed again unless its start comes to its end.
//!
//! The agent may give a start up at any moment, also between the question to the engine and its answer. So the question
//! is asked by a task of its own, and whoever drops this waits for that answer in the background and clears up.

use std::sync::Arc;

use nomad_driver_sdk::DriverError;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tracing::warn;

use crate::engine::{ContainerEngine, ContainerId};
use crate::stage::Stage;

pub(super) struct ContainerGuard<E: ContainerEngine> {
    engine: Arc<E>,
    creation: Creation,
    /// The bind sources, mounted while the engine starts the container.
    stage: Option<Stage>,
}

enum Creation {
    Request(JoinHandle<Result<ContainerId, DriverError>>),
    Container(ContainerId),
    /// Nothing to remove: there is no container, or it is a task's now.
    Empty,
}

impl<E: ContainerEngine> ContainerGuard<E> {
    /// `creation` begins at once and runs to its end.
    pub(super) fn begin(
        engine: Arc<E>,
        stage: Stage,
        creation: impl Future<Output = Result<ContainerId, DriverError>> + Send + 'static,
    ) -> Self {
        Self {
            engine,
            creation: Creation::Request(tokio::spawn(creation)),
            stage: Some(stage),
        }
    }

    /// The container, once the engine has made it. Cancel-safe.
    pub(super) async fn container(&mut self) -> Result<ContainerId, DriverError> {
        let answer = match &mut self.creation {
            Creation::Request(answer) => answer.await,
            Creation::Container(id) => return Ok(id.clone()),
            Creation::Empty => return Err(DriverError::new("there is no such container")),
        };
        self.creation = Creation::Empty;
        let id =
            answer.map_err(|_| DriverError::new("the creation of the container broke off"))??;
        self.creation = Creation::Container(id.clone());
        Ok(id)
    }

    /// The container has come to life and is somebody else's to look after.
    pub(super) fn keep(mut self) {
        self.creation = Creation::Empty;
    }

    /// Removes the container before the start's failure is told. Cancel-safe.
    pub(super) async fn discard(mut self) {
        if let Creation::Container(id) = &self.creation {
            remove(self.engine.as_ref(), id).await;
            self.creation = Creation::Empty;
        }
    }
}

impl<E: ContainerEngine> Drop for ContainerGuard<E> {
    fn drop(&mut self) {
        // Without a runtime the process is about to end; the next one's mounts and containers are swept.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        if let Some(stage) = self.stage.take() {
            runtime.spawn_blocking(move || drop(stage));
        }
        let engine = Arc::clone(&self.engine);
        match std::mem::replace(&mut self.creation, Creation::Empty) {
            Creation::Empty => {}
            Creation::Container(id) => {
                runtime.spawn(async move { remove(engine.as_ref(), &id).await });
            }
            Creation::Request(answer) => {
                runtime.spawn(async move {
                    if let Ok(Ok(id)) = answer.await {
                        remove(engine.as_ref(), &id).await;
                    }
                });
            }
        }
    }
}

async fn remove<E: ContainerEngine>(engine: &E, id: &ContainerId) {
    if let Err(error) = engine.remove(id).await {
        warn!(%error, container = id.short(), "a container that failed to start could not be removed");
    }
}
