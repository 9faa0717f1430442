//! Where the fake's images come from, and how.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use docker_ipvs::engine::{EngineError, Layer, LayerState};
use tokio::sync::mpsc;

use super::FakeEngine;

/// What a pull comes to.
#[derive(Debug, Default)]
pub(crate) enum Pull {
    #[default]
    NotFound,
    Fails(fn() -> EngineError),
    /// A line a second, for so long; then the image is there.
    Takes(Duration),
}

#[derive(Debug, Default)]
pub(super) struct Registry {
    pull: Arc<Pull>,
    has_image: bool,
    abandonments: Arc<AtomicUsize>,
}

/// Counts when it is dropped before the end.
struct UnderWay(Option<Arc<AtomicUsize>>);

impl FakeEngine {
    pub(crate) fn set_pull(&self, pull: Pull) {
        self.lock().registry.pull = Arc::new(pull);
    }

    /// How many pulls were dropped before their end.
    pub(crate) fn abandoned_pulls(&self) -> usize {
        self.lock().registry.abandonments.load(Ordering::Relaxed)
    }

    pub(super) fn has_pull(&self) -> bool {
        self.lock().registry.has_image
    }

    pub(super) async fn fetch(
        &self,
        reference: &str,
        lines: mpsc::Sender<Option<Layer>>,
    ) -> Result<(), EngineError> {
        let (pull, count) = {
            let world = self.up()?;
            let registry = &world.registry;
            (
                Arc::clone(&registry.pull),
                Arc::clone(&registry.abandonments),
            )
        };
        let mut under_way = UnderWay(Some(count));
        let outcome = match &*pull {
            Pull::NotFound => Err(EngineError::Refusal(format!("image {reference} not found"))),
            Pull::Fails(error) => Err(error()),
            Pull::Takes(time) => {
                let total = time.as_secs() * 1024 * 1024;
                for second in 0..time.as_secs() {
                    let current = second * 1024 * 1024;
                    let state = LayerState::Loading { current, total };
                    let id = "a layer".to_owned();
                    let _ = lines.try_send(Some(Layer { id, state }));
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                self.lock().registry.has_image = true;
                Ok(())
            }
        };
        under_way.0 = None;
        outcome
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(count) = &self.0 {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}
