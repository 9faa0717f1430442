//! The tasks this process knows, by the agent's task id.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::Task;

#[derive(Debug, Default)]
pub struct Tasks {
    by_id: Mutex<HashMap<String, Arc<Task>>>,
    node_id: OnceLock<String>,
}

impl Tasks {
    pub fn get(&self, id: &str) -> Option<Arc<Task>> {
        self.lock().get(id).cloned()
    }

    pub fn contains(&self, id: &str) -> bool {
        self.lock().contains_key(id)
    }

    /// Keeps the first of two of one id; the later one is dropped, which ends its watcher.
    pub fn insert(&self, task: Task) {
        if !task.config.node_id.is_empty() {
            self.node_id.get_or_init(|| task.config.node_id.clone());
        }
        if let Entry::Vacant(place) = self.lock().entry(task.config.id.clone()) {
            place.insert(Arc::new(task));
        }
    }

    /// This node's id, once a task has brought it.
    pub fn node_id(&self) -> Option<String> {
        self.node_id.get().cloned()
    }

    pub fn remove(&self, id: &str) {
        self.lock().remove(id);
    }

    pub fn list(&self) -> Vec<Arc<Task>> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Task>>> {
        // Nothing panics while the lock is held; if something did, the map is still whole.
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
