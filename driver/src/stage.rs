//! Where the bind sources of a container lie while the engine starts it: paths that only root can change.
//!
//! ```text
//!  spec names paths below the allocation ─▶ each is opened once (openat2, below the allocation's directory)
//!     ─▶ bound, by its descriptor, to STAGES_ROOT/process/start/number ─▶ the engine creates and starts by these paths ─▶ gone
//! ```
//!
//! The engine resolves a bind's source at the container's start, where nothing can be checked any more, and everything
//! below an allocation's shared folders may be renamed or become a symbolic link at any time. So the engine is never
//! given a path of an allocation: what was opened is what it binds (decision 0008). The mounts last from before the
//! create to after the start, and those of a process that was killed are removed by the next one when it begins.

mod mounts;
mod source;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use mounts::ProcessFolder;
pub use mounts::Stage;
pub use source::{Absence, BindSource, Kind};

/// The usual place of all stages of a machine.
const STAGES_ROOT: &str = "/run/docker-ipvs";

/// Where the engine finds sources below the allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Their mounts below this folder, by number.
    Stage(PathBuf),
    /// Their own paths: this process may not mount. Only such as no container can change are allowed then.
    Allocation,
}

#[derive(Debug, thiserror::Error)]
pub enum StageError {
    #[error("the allocation's directory {path}")]
    Allocation { path: PathBuf, source: io::Error },
    #[error(
        "{path:?} of the allocation's directory is refused: it, or a symbolic link in it, leads out of the allocation"
    )]
    Escape { path: PathBuf },
    #[error("{path:?} of the allocation's directory")]
    Source { path: PathBuf, source: io::Error },
    #[error(
        "{path:?} is the directory of the allocation or of a task; a container may have what is below: local/…, secrets/…, ../alloc/…"
    )]
    TaskRoot { path: PathBuf },
    #[error("{path:?} of the allocation's directory is not a directory")]
    NotDirectory { path: PathBuf },
    #[error(
        "{path:?} of the allocation's directory can be changed by containers, and this process may not mount it elsewhere; run the Nomad agent as root"
    )]
    Unprivileged { path: PathBuf },
    #[error("cannot mount a bind source at {}", path.display())]
    Mount { path: PathBuf, source: io::Error },
    #[error("the bind source at {} is not what was opened", path.display())]
    Mismatch { path: PathBuf },
}

/// The stages of this process.
#[derive(Debug, Clone)]
pub struct Stages(Arc<ProcessStages>);

#[derive(Debug)]
struct ProcessStages {
    root: PathBuf,
    count: AtomicU64,
    folder: Mutex<Option<ProcessFolder>>,
}

impl Default for Stages {
    fn default() -> Self {
        Self::at(Path::new(STAGES_ROOT))
    }
}

impl Stages {
    /// Nothing is made before the first container starts.
    pub fn at(root: &Path) -> Self {
        Self(Arc::new(ProcessStages {
            root: root.to_owned(),
            count: AtomicU64::new(0),
            folder: Mutex::default(),
        }))
    }

    /// Takes down what processes left behind that were killed: their mounts hold secrets of tasks, and on a node where
    /// nothing starts any more nobody else would. Blocks on files.
    pub fn clear(&self) -> Result<(), StageError> {
        self.place().map(drop)
    }

    /// The place for the next container. Blocks on files.
    pub fn place(&self) -> Result<Place, StageError> {
        if !mounts::may_mount() {
            return Ok(Place::Allocation);
        }
        let mut slot = self.0.folder.lock().unwrap_or_else(PoisonError::into_inner);
        // A cleaner of /run may have removed it.
        let folder = match slot.take().filter(ProcessFolder::is_in_place) {
            Some(folder) => slot.insert(folder),
            None => slot.insert(ProcessFolder::create(&self.0.root)?),
        };
        let number = self.0.count.fetch_add(1, Ordering::Relaxed);
        Ok(Place::Stage(folder.path().join(number.to_string())))
    }
}

impl Place {
    /// The path for the engine of the source with this number, which lies at `path` of the allocation.
    pub fn path(&self, number: usize, alloc_dir: &Path, path: &Path) -> PathBuf {
        match self {
            Self::Stage(root) => root.join(number.to_string()),
            Self::Allocation => alloc_dir.join(path),
        }
    }
}

#[cfg(test)]
mod tests;
