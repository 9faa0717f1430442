//! How much of a container's output an engine keeps before it throws the oldest away. Pure.

use std::collections::HashMap;

/// The limits of a log that is rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// Bytes, after which a file is full.
    pub file_size: u64,
    /// The one that is written to among them.
    pub files: u64,
}

impl LogLimits {
    /// `None`: nothing is ever thrown away, as far as is known. `config` has the engine's words (`max-size`, `max-file`);
    /// the defaults are those of `daemon/logger/{jsonfilelog,local}` in Docker's sources. A size that only the engine can
    /// read is a limit all the same, and 0 bytes here: how much there is then tells nothing.
    pub fn of(driver: &str, config: &HashMap<String, String>) -> Option<Self> {
        let (size, files) = match driver {
            "json-file" => (None, 1),
            "local" => (Some(20_000_000), 5),
            _ => return None,
        };
        let size = match config.get("max-size").map(String::as_str) {
            None => size,
            Some("-1") => None,
            Some(text) => Some(bytes(text).unwrap_or_default()),
        };
        let count = config.get("max-file").and_then(|text| text.parse().ok());
        Some(Self {
            file_size: size?,
            files: count.unwrap_or(files),
        })
    }

    /// As soon as anything was thrown away the engine keeps at least so many bytes: all files but the one that is written
    /// to are full.
    pub fn least_after_loss(&self) -> u64 {
        self.file_size.saturating_mul(self.files.saturating_sub(1))
    }
}

/// `10m`, `4k`, `1gb`: powers of ten, as `units.FromHumanSize` of Docker has them.
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match text.get(digits.len()..)?.trim_end_matches('b') {
        "" => 1,
        "k" => 1_000,
        "m" => 1_000_000,
        "g" => 1_000_000_000,
        "t" => 1_000_000_000_000,
        _ => return None,
    };
    digits.trim_end().parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_without_limits_loses_nothing_and_dockers_own_words_give_the_limits() {
        let rows = [
            ("json-file", "", "", None),
            ("journald", "2m", "2", None),
            ("json-file", "-1", "2", None),
            ("json-file", "2.5m", "2", Some((0, 2))),
            ("json-file", "99999999999t", "2", Some((0, 2))),
            ("json-file", "4k", "", Some((4_000, 1))),
            ("json-file", "2m", "2", Some((2_000_000, 2))),
            ("local", "", "", Some((20_000_000, 5))),
            ("local", "1 GB", "3", Some((1_000_000_000, 3))),
        ];
        for (driver, size, files, expected) in rows {
            let options = [("max-size", size), ("max-file", files)];
            let options = options.into_iter().filter(|(_, value)| !value.is_empty());
            let config = options.map(|(key, value)| (key.to_owned(), value.to_owned()));
            let limits = LogLimits::of(driver, &config.collect());
            let limits = limits.map(|limits| (limits.file_size, limits.files));
            assert_eq!(limits, expected, "{driver} {size} {files}");
        }
    }

    #[test]
    fn after_a_loss_all_files_but_the_last_are_full() {
        let least = |file_size, files| LogLimits { file_size, files }.least_after_loss();
        assert_eq!(least(2_000_000, 2), 2_000_000);
        assert_eq!(least(4_000, 1), 0);
        assert_eq!(least(u64::MAX, 3), u64::MAX);
    }
}
