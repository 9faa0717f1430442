//! How far a pull is, in a sentence: counted from the engine's lines, one for each step of each layer.

use std::collections::HashMap;

use crate::engine::{Layer, LayerState};

/// No image has as many; of one that says so, the rest is not counted.
const MOST_LAYERS: usize = 1024;
const MIB: u64 = 1024 * 1024;

#[derive(Debug, Default)]
pub(super) struct Progress {
    layers: HashMap<String, LayerState>,
}

impl Progress {
    pub(super) fn note(&mut self, layer: Layer) {
        if let Some(entry) = self.layers.get_mut(&layer.id) {
            // The sizes of a layer that is being unpacked are of another kind.
            *entry = match (*entry, layer.state) {
                (
                    LayerState::Loading { total, .. } | LayerState::Loaded { total },
                    LayerState::Loaded { .. },
                ) => LayerState::Loaded { total },
                (
                    LayerState::Loaded { total } | LayerState::Complete { total },
                    LayerState::Complete { .. },
                ) => LayerState::Complete { total },
                (_, state) => state,
            };
        } else if self.layers.len() < MOST_LAYERS {
            self.layers.insert(layer.id, layer.state);
        }
    }

    /// `2 of 5 layers are there, 120 of 480 MiB are loaded`.
    pub(super) fn sentence(&self) -> String {
        let (mut layers, mut bytes, mut total_bytes) = (0_usize, 0_u64, 0_u64);
        for state in self.layers.values() {
            let (count, current, total) = match *state {
                LayerState::Waiting => (0, 0, 0),
                LayerState::Loading { current, total } => (0, current.min(total), total),
                LayerState::Loaded { total } => (0, total, total),
                LayerState::Complete { total } => (1, total, total),
            };
            layers = usize::saturating_add(layers, count);
            bytes = bytes.saturating_add(current);
            total_bytes = total_bytes.saturating_add(total);
        }
        format!(
            "{layers} of {} layers are there, {} of {} MiB are loaded",
            self.layers.len(),
            bytes / MIB,
            total_bytes.div_ceil(MIB)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pull_is_counted_in_layers_and_in_what_is_loaded() {
        let mut progress = Progress::default();
        let (current, total) = (3 * MIB, 10 * MIB);
        for (id, state) in [
            ("a", LayerState::Waiting),
            ("b", LayerState::Waiting),
            ("c", LayerState::Waiting),
            ("a", LayerState::Loading { current, total }),
            (
                "b",
                LayerState::Loading {
                    current: total,
                    total,
                },
            ),
            ("b", LayerState::Loaded { total: 0 }),
            ("b", LayerState::Complete { total: 0 }),
        ] {
            progress.note(Layer {
                id: id.to_owned(),
                state,
            });
        }
        assert_eq!(
            progress.sentence(),
            "1 of 3 layers are there, 13 of 20 MiB are loaded"
        );
    }

    #[test]
    fn a_registry_that_makes_numbers_up_costs_no_memory_and_no_panic() {
        let mut progress = Progress::default();
        let huge = LayerState::Loading {
            current: u64::MAX,
            total: u64::MAX,
        };
        for id in 0..10_000 {
            progress.note(Layer {
                id: id.to_string(),
                state: huge,
            });
        }
        assert_eq!(progress.layers.len(), MOST_LAYERS);
        assert!(progress.sentence().starts_with("0 of 1024 layers"));
    }
}
