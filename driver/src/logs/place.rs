//! The place of a task's output: the agent's paths, and the same place as an open directory.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nomad_driver_sdk::TaskConfig;

use super::directory::{Directory, off_worker};

/// The agent sends this path in place of the FIFOs when a task's logs are switched off.
const NO_LOG_PATH: &str = "/dev/null";

/// The agent's paths for a task's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    allocation: PathBuf,
    stdout: PathBuf,
    stderr: PathBuf,
}

/// The same place as an open directory, whatever becomes of the paths.
#[derive(Debug, Clone)]
pub struct LogPlace {
    pub(super) directory: Arc<Directory>,
    /// Names of FIFOs.
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// The log directory is not what the agent made.
#[derive(Debug, thiserror::Error)]
#[error("the log directory {} can't be used", path.display())]
pub struct PlaceError {
    path: PathBuf,
    source: io::Error,
}

impl Paths {
    /// `None`: nobody collects logs for this task.
    pub fn of(task: &TaskConfig, is_collection_off: bool) -> Option<Self> {
        let is_off = |path: &str| path.is_empty() || path == NO_LOG_PATH;
        let off = is_collection_off || is_off(&task.stdout_path) || is_off(&task.stderr_path);
        (!off).then(|| Self {
            allocation: PathBuf::from(&task.alloc_dir),
            stdout: PathBuf::from(&task.stdout_path),
            stderr: PathBuf::from(&task.stderr_path),
        })
    }

    /// Before the container starts, or safely all the same.
    pub async fn open(self) -> Result<LogPlace, PlaceError> {
        let path = self.stdout.parent().unwrap_or(Path::new("/")).to_owned();
        let below = path.clone();
        let open = off_worker(move || {
            let directory = Arc::new(Directory::open(&self.allocation, &below)?);
            let name = |fifo: &Path| {
                let beside = fifo.parent() == Some(&below);
                let name = fifo
                    .file_name()
                    .filter(|_| beside)
                    .and_then(|name| name.to_str());
                name.map(str::to_owned).ok_or_else(|| {
                    io::Error::other(format!("{} is not a FIFO in it", fifo.display()))
                })
            };
            Ok(LogPlace {
                directory,
                stdout: name(&self.stdout)?,
                stderr: name(&self.stderr)?,
            })
        });
        open.await.map_err(|source| PlaceError { path, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_that_are_switched_off_have_no_paths() {
        let task = |stdout: &str, stderr: &str| TaskConfig {
            stdout_path: stdout.into(),
            stderr_path: stderr.into(),
            ..TaskConfig::default()
        };
        assert_eq!(Paths::of(&task("/dev/null", "/dev/null"), false), None);
        assert!(Paths::of(&task("/a", "/b"), false).is_some());
        assert_eq!(Paths::of(&task("/a", "/b"), true), None);
    }

    #[tokio::test]
    async fn fifos_elsewhere_than_in_one_directory_are_no_place_for_a_log() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let task = |stderr: &str| TaskConfig {
            stdout_path: path(".web.stdout.fifo"),
            stderr_path: path(stderr),
            ..TaskConfig::default()
        };
        let open = |stderr: &str| Paths::of(&task(stderr), false).unwrap().open();
        assert_eq!(open("x.fifo").await.unwrap().stderr, "x.fifo");
        assert!(open("sub/x.fifo").await.is_err());
    }
}
