//! Remarks about tasks on their way to the agent's task events.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use futures_util::{Stream, StreamExt, stream};
use nomad_driver_sdk::TaskConfig;
use nomad_driver_sdk::value::TaskEvent;
use tokio::sync::broadcast;

/// The agent keeps ten events a task; nobody needs more in flight.
const BACKLOG_MAX: usize = 256;

/// Events wait for the listener: after a restart the agent comes for them seconds after its first calls.
#[derive(Debug, Clone)]
pub(super) struct Events {
    sender: broadcast::Sender<TaskEvent>,
    backlog: Arc<Mutex<VecDeque<TaskEvent>>>,
}

impl Events {
    pub(super) fn new() -> Self {
        Self {
            sender: broadcast::channel(BACKLOG_MAX).0,
            backlog: Arc::default(),
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
        let mut backlog = self.backlog.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.sender.send(event) {
            backlog.push_back(error.0);
            if backlog.len() > BACKLOG_MAX {
                backlog.pop_front();
            }
        }
    }

    /// The events that waited, and then those that come. A listener that is far behind misses the oldest.
    pub(super) fn listen(&self) -> impl Stream<Item = TaskEvent> + Send + 'static {
        let mut backlog = self.backlog.lock().unwrap_or_else(PoisonError::into_inner);
        let (backlog, events) = (std::mem::take(&mut *backlog), self.sender.subscribe());
        let live = stream::unfold(events, |mut events| async move {
            loop {
                match events.recv().await {
                    Ok(event) => return Some((event, events)),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        });
        stream::iter(backlog).chain(live)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_happened_before_anybody_listened_is_told_first() {
        let events = Events::new();
        for message in ["one", "two"] {
            events.tell(&TaskConfig::default(), message, &[]);
        }
        let listener = events.listen();
        events.tell(&TaskConfig::default(), "three", &[]);
        let messages: Vec<_> = listener.take(3).map(|event| event.message).collect().await;
        assert_eq!(messages, ["one", "two", "three"]);
    }
}
