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

pub(super) struct Unfinished<E: ContainerEngine> {
    engine: Arc<E>,
    creation: Creation,
    /// What the engine binds while it starts the container.
    stage: Option<Stage>,
}

enum Creation {
    Asked(JoinHandle<Result<ContainerId, DriverError>>),
    Done(ContainerId),
    /// Nothing to remove: there is no container, or it is a task's now.
    Settled,
}

impl<E: ContainerEngine> Unfinished<E> {
    /// `creation` is asked for at once and to the end.
    pub(super) fn begin(
        engine: Arc<E>,
        stage: Stage,
        creation: impl Future<Output = Result<ContainerId, DriverError>> + Send + 'static,
    ) -> Self {
        Self {
            engine,
            creation: Creation::Asked(tokio::spawn(creation)),
            stage: Some(stage),
        }
    }

    /// The container, once the engine has made it. Cancel-safe.
    pub(super) async fn created(&mut self) -> Result<ContainerId, DriverError> {
        let answer = match &mut self.creation {
            Creation::Asked(answer) => answer.await,
            Creation::Done(id) => return Ok(id.clone()),
            Creation::Settled => return Err(DriverError::new("there is no such container")),
        };
        self.creation = Creation::Settled;
        let id =
            answer.map_err(|_| DriverError::new("the creation of the container broke off"))??;
        self.creation = Creation::Done(id.clone());
        Ok(id)
    }

    /// The container has come to life and is somebody else's to look after.
    pub(super) fn keep(mut self) {
        self.creation = Creation::Settled;
    }

    /// Removes the container before the start's failure is told. Cancel-safe.
    pub(super) async fn discard(mut self) {
        if let Creation::Done(id) = &self.creation {
            remove(self.engine.as_ref(), id).await;
            self.creation = Creation::Settled;
        }
    }
}

impl<E: ContainerEngine> Drop for Unfinished<E> {
    fn drop(&mut self) {
        // Without a runtime the process is about to end; the next one's mounts and containers are swept.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        if let Some(stage) = self.stage.take() {
            runtime.spawn_blocking(move || drop(stage));
        }
        let engine = Arc::clone(&self.engine);
        match std::mem::replace(&mut self.creation, Creation::Settled) {
            Creation::Settled => {}
            Creation::Done(id) => {
                runtime.spawn(async move { remove(engine.as_ref(), &id).await });
            }
            Creation::Asked(answer) => {
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
    if let Err(left) = engine.remove(id).await {
        warn!(error = %left, container = id.short(), "a container that failed to start could not be removed");
    }
}
