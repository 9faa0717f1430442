//! One source below an allocation, opened so that no link leads out of it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, open, openat2};
use rustix::io::Errno;

use super::StageError;

/// The kernel asks to try again when something was renamed meanwhile; a container that renames all the time is refused.
const OPEN_ATTEMPTS: usize = 16;
const HANDLE_FLAGS: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);
/// The mode of a directory that is made for a path that is not there, as the engine makes it.
const DIRECTORY_MODE: u32 = 0o755;

/// A path below the allocation's directory that a container is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindSource {
    /// Relative to the allocation's directory, without `.` and `..`.
    pub path: PathBuf,
    pub kind: Kind,
}

/// Who wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The driver, for every task: a directory that the agent made, reached without any symbolic link.
    Driver,
    /// The job. Links that stay within the allocation are followed.
    Job { absence: Absence },
}

/// What to do about a path that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// A directory is made, as the engine does for `volumes`.
    Create,
    Refuse,
}

/// The allocation's directory. Its own path is the agent's; no container can change it.
#[derive(Debug)]
pub(super) struct Allocation {
    handle: OwnedFd,
    path: PathBuf,
}

impl Allocation {
    pub(super) fn open(path: &Path) -> Result<Self, StageError> {
        let flags = HANDLE_FLAGS | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let handle = open(path, flags, Mode::empty()).map_err(|error| StageError::Allocation {
            path: path.to_owned(),
            source: error.into(),
        })?;
        Ok(Self {
            handle,
            path: path.to_owned(),
        })
    }

    /// A handle that can't be read or written through: opening waits for nobody, whatever lies there.
    pub(super) fn source(&self, source: &BindSource) -> Result<OwnedFd, StageError> {
        let path = &source.path;
        let handle = match (self.find(path, source.kind), source.kind) {
            (
                Err(Errno::NOENT),
                Kind::Job {
                    absence: Absence::Create,
                },
            ) => self.make(path),
            (outcome, _) => outcome,
        };
        let handle = handle.map_err(|error| refusal(path, error))?;
        match source.kind {
            Kind::Driver if !is_directory(&handle) => {
                Err(StageError::NotDirectory { path: path.clone() })
            }
            Kind::Job { .. } if self.is_task_root(&handle)? => {
                Err(StageError::TaskRoot { path: path.clone() })
            }
            _ => Ok(handle),
        }
    }

    fn find(&self, path: &Path, kind: Kind) -> Result<OwnedFd, Errno> {
        let links = match kind {
            Kind::Driver => ResolveFlags::NO_SYMLINKS,
            Kind::Job { .. } => ResolveFlags::NO_MAGICLINKS,
        };
        below(self.handle.as_fd(), path, HANDLE_FLAGS, links)
    }

    /// Folder by folder, each opened before the next is made in it.
    fn make(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let mut folder = below(
            self.handle.as_fd(),
            Path::new("."),
            HANDLE_FLAGS | OFlags::DIRECTORY,
            ResolveFlags::NO_SYMLINKS,
        )?;
        for part in path.components() {
            let Component::Normal(name) = part else {
                return Err(Errno::XDEV);
            };
            match mkdirat(&folder, name, Mode::from_raw_mode(DIRECTORY_MODE)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
            folder = below(
                folder.as_fd(),
                Path::new(name),
                HANDLE_FLAGS | OFlags::DIRECTORY,
                ResolveFlags::NO_SYMLINKS,
            )?;
        }
        Ok(folder)
    }

    /// The allocation's own directory or a task's, however it was reached: who has it can replace the folders in it,
    /// which the agent and this driver reach by name.
    fn is_task_root(&self, handle: &OwnedFd) -> Result<bool, StageError> {
        let real = |handle: &OwnedFd| {
            std::fs::read_link(proc_path(handle)).map_err(|source| StageError::Allocation {
                path: self.path.clone(),
                source,
            })
        };
        let (root, target) = (real(&self.handle)?, real(handle)?);
        let Ok(inside) = target.strip_prefix(&root) else {
            // Moved out of the allocation since: nobody's directory of tasks.
            return Ok(true);
        };
        let mut parts = inside.components();
        Ok(match (parts.next(), parts.next()) {
            (None, _) => true,
            (Some(only), None) => only.as_os_str() != "alloc" && is_directory(handle),
            _ => false,
        })
    }
}

/// A handle of what lies at `path` of `folder`.
fn below(
    folder: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    links: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | links;
    for _ in 1..OPEN_ATTEMPTS {
        match openat2(folder, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    openat2(folder, path, flags, Mode::empty(), resolve)
}

/// How this process reaches exactly what it opened.
pub(super) fn proc_path(handle: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd()))
}

pub(super) fn is_directory(handle: &OwnedFd) -> bool {
    rustix::fs::fstat(handle)
        .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir())
}

fn refusal(path: &Path, error: Errno) -> StageError {
    let path = path.to_owned();
    match error {
        Errno::XDEV | Errno::LOOP => StageError::Escape { path },
        Errno::AGAIN => StageError::Source {
            path,
            source: std::io::Error::other("it is renamed all the time"),
        },
        other => StageError::Source {
            path,
            source: other.into(),
        },
    }
}
