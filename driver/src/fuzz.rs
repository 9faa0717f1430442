//! The functions that fuzzing calls: each takes any bytes, must end without a panic, and must keep its promise.
//! Built for tests and under cargo-fuzz alone; `tests/fuzz` holds the targets and what they found.

mod hclspec;

use nomad_driver_sdk::cty;
use nomad_driver_sdk::options::Options;

use crate::config::options::TaskOptions;
use crate::config::{self, ConfigError, PluginConfig};
use crate::engine::docker;
use crate::logs;
use crate::task::handle::DriverState;

/// The engine's output, framed or raw by the first byte, in pieces as long as the second says.
pub fn frames(data: &[u8]) {
    docker::fuzz_frames(data);
}

/// The end of the log files, looked for in the engine's stored log.
pub fn stored_log(data: &[u8]) {
    logs::fuzz_stored_log(data);
}

/// The msgpack that a job and an agent send: options of a task, of the plugin, and a task's handle.
pub fn msgpack(data: &[u8]) {
    drop(cty::from_slice::<TaskOptions>(data));
    drop(PluginConfig::from_msgpack(data));
    drop(DriverState::decode(data));
}

/// Values that the schemas allow, which must be decoded, and values of wrong types, which must be refused by name.
pub fn hclspec(data: &[u8]) {
    let (first, data) = data.split_first().unwrap_or((&0, &[]));
    if first % 2 == 0 {
        let block = hclspec::Config::new(TaskOptions::schema(), data);
        block.check(|bytes| {
            cty::from_slice::<TaskOptions>(bytes).map_err(|error| error.to_string())
        });
    } else {
        let block = hclspec::Config::new(config::schema(), data);
        block.check(|bytes| match PluginConfig::from_msgpack(bytes) {
            Err(ConfigError::Decode(error)) => Err(error.to_string()),
            // What can be decoded may make no sense.
            Err(error) => Ok(Err(error.to_string())),
            Ok(config) => Ok(Ok(config)),
        });
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Feeds all files of a corpus, so that what was once found stays mended.
    fn replay(corpus: &str, feed: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus");
        let files = std::fs::read_dir(folder.join(corpus)).unwrap();
        let files = files.map(|file| feed(&std::fs::read(file.unwrap().path()).unwrap()));
        assert!(files.count() > 0, "the corpus {corpus} is empty");
    }

    #[test]
    fn what_fuzzing_found_does_no_harm() {
        replay("frames", super::frames);
        replay("stored_log", super::stored_log);
        replay("msgpack", super::msgpack);
        replay("hclspec", super::hclspec);
    }
}
