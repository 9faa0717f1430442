//! Remarks about tasks on their way to the agent's task events.

use std::time::SystemTime;

use futures_util::{Stream, stream};
use nomad_driver_sdk::TaskConfig;
use nomad_driver_sdk::value::TaskEvent;
use tokio::sync::broadcast;

/// The agent keeps ten events a task; nobody needs more in flight.
const IN_FLIGHT: usize = 256;

#[derive(Debug, Clone)]
pub(super) struct Events {
    sender: broadcast::Sender<TaskEvent>,
}

impl Events {
    pub(super) fn new() -> Self {
        Self {
            sender: broadcast::channel(IN_FLIGHT).0,
        }
    }

    pub(super) fn tell(&self, task: &TaskConfig, message: &str, annotations: &[(&str, &str)]) {
        let event = TaskEvent {
            task_id: task.id.clone(),
            alloc_id: task.alloc_id.clone(),
            task_name: task.name.clone(),
            at: SystemTime::now(),
            message: message.to_owned(),
            annotations: annotations
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        };
        // Fails when no agent listens, and then there is nobody to tell.
        let _ = self.sender.send(event);
    }

    /// From now on. A listener that is far behind misses the oldest.
    pub(super) fn listen(&self) -> impl Stream<Item = TaskEvent> + Send + 'static {
        stream::unfold(self.sender.subscribe(), |mut events| async move {
            loop {
                match events.recv().await {
                    Ok(event) => return Some((event, events)),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        })
    }
}
