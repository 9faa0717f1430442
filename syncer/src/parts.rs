//! The long-lived parts of a process: what follows Nomad and Consul, the loops, the servers.
//!
//! Each runs until it is told to stop. One that ends earlier, by a panic or otherwise, leaves a process that looks well
//! and does half its work: whoever holds the parts learns of it, and which one it was.

use std::collections::HashMap;

use tokio::runtime::Handle;
use tokio::task::{Id, JoinError, JoinSet};

/// All parts of a process; they end with it.
#[derive(Debug, Default)]
pub struct Parts {
    tasks: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

/// A part that is no more.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartEnd {
    #[error("{part} ended by itself")]
    ByItself { part: &'static str },
    #[error("{part} panicked: {what}")]
    Panicked { part: &'static str, what: String },
}

impl Parts {
    /// Starts a part. `name` completes a sentence: "… panicked".
    pub fn spawn(&mut self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        self.spawn_on(&Handle::current(), name, part);
    }

    /// Starts a part on another runtime.
    pub fn spawn_on(
        &mut self,
        runtime: &Handle,
        name: &'static str,
        part: impl Future<Output = ()> + Send + 'static,
    ) {
        let id = self.tasks.spawn_on(part, runtime).id();
        self.names.insert(id, name);
    }

    /// Waits for the next part to end; for ever if there is none. Cancel-safe.
    pub async fn ended(&mut self) -> PartEnd {
        match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => PartEnd::ByItself {
                part: self.name(id),
            },
            Some(Err(error)) => PartEnd::Panicked {
                part: self.name(error.id()),
                what: panic_text(error),
            },
            None => std::future::pending().await,
        }
    }

    /// Waits until the part of that name has ended, if there is one.
    pub async fn finish(&mut self, name: &str) {
        while self.names.values().any(|other| *other == name) {
            self.ended().await;
        }
    }

    fn name(&mut self, id: Id) -> &'static str {
        self.names.remove(&id).unwrap_or("a part")
    }
}

fn panic_text(error: JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else {
        return "it was cancelled".to_owned();
    };
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_of_a_part_is_told_with_its_name_and_why() {
        let mut parts = Parts::default();
        parts.spawn("the patient one", std::future::pending());
        parts.spawn("the short one", async {});
        let short = PartEnd::ByItself {
            part: "the short one",
        };
        assert_eq!(parts.ended().await, short);
        parts.spawn("the wild one", async { panic!("number {}", 7) });
        let text = parts.ended().await.to_string();
        assert_eq!(text, "the wild one panicked: number 7");
    }

    #[tokio::test]
    async fn one_part_can_be_waited_for() {
        let mut parts = Parts::default();
        parts.spawn("the patient one", std::future::pending());
        parts.spawn(
            "the writer",
            tokio::time::sleep(std::time::Duration::from_millis(1)),
        );
        parts.finish("the writer").await;
        parts.finish("nobody").await;
        assert_eq!(parts.names.len(), 1);
    }
}
