//! The mounts of a stage, and what a process that was killed left behind.
//!
//! ```text
//!  STAGES_ROOT/       root's alone; locked while a process makes or removes folders
//!    <process>/       this one's; locked while it lives
//!      <start>/       a file system in memory of its own, so that an engine which does not see this process's mounts
//!        <number>     finds no path here at all, instead of an empty one
//! ```

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rustix::fs::{FlockOperation, flock, fstat, stat};
use tracing::{debug, warn};

use super::source::{Allocation, BindSource, Kind, is_directory, proc_path};
use super::{Place, StageError};

/// Bit of `CapEff` in /proc/self/status.
const CAP_SYS_ADMIN: u32 = 21;
/// The most folders of processes; no machine has more.
const PROCESSES_MAX: usize = 1024;

/// This process's folder.
#[derive(Debug)]
pub(super) struct ProcessFolder {
    path: PathBuf,
    /// The lock ends with the process, however that ends.
    lock: File,
}

/// The sources of one container, mounted until this is dropped. Dropping blocks on files.
#[derive(Debug)]
pub struct Stage {
    /// Absent where nothing was mounted.
    folder: Option<PathBuf>,
}

/// Whether this process may mount.
pub(super) fn may_mount() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let capabilities = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    capabilities.is_some_and(|set| set & (1 << CAP_SYS_ADMIN) != 0)
}

impl ProcessFolder {
    pub(super) fn create(root: &Path) -> Result<Self, StageError> {
        let failure = |path: &Path| {
            let path = path.to_owned();
            move |source| StageError::Mount { path, source }
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(root)
            .map_err(failure(root))?;
        check_owner(root).map_err(failure(root))?;
        // One process at a time, so that no new folder is taken for one that was left behind.
        let turn = File::open(root).map_err(failure(root))?;
        flock(&turn, FlockOperation::LockExclusive).map_err(|error| failure(root)(error.into()))?;
        sweep(root);
        let path = free(root).map_err(failure(root))?;
        let lock = File::open(&path).map_err(failure(&path))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| failure(&path)(error.into()))?;
        Ok(Self { path, lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the path still leads to what is locked.
    pub(super) fn is_in_place(&self) -> bool {
        let (lock, path) = (fstat(&self.lock), stat(&self.path));
        lock.is_ok_and(|lock| {
            path.is_ok_and(|path| (lock.st_dev, lock.st_ino) == (path.st_dev, path.st_ino))
        })
    }
}

impl Stage {
    /// Opens each source, and mounts it where `place` says.
    pub fn mount(
        place: &Place,
        alloc_dir: &Path,
        sources: &[BindSource],
    ) -> Result<Self, StageError> {
        let allocation = Allocation::open(alloc_dir)?;
        let Place::Stage(folder) = place else {
            for source in sources {
                drop(allocation.source(source)?);
                // Those of the driver are mount points in each container, and such can't be renamed.
                if source.kind != Kind::Driver && !is_out_of_reach(&source.path) {
                    let path = source.path.clone();
                    return Err(StageError::Unprivileged { path });
                }
            }
            return Ok(Self { folder: None });
        };
        let failure = |source| StageError::Mount {
            path: folder.clone(),
            source,
        };
        DirBuilder::new()
            .mode(0o700)
            .create(folder)
            .map_err(failure)?;
        // From here on it is taken down again, whatever fails.
        let stage = Self {
            folder: Some(folder.clone()),
        };
        mount(
            Some("nomad-ipvs"),
            folder,
            Some("tmpfs"),
            MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
            Some("mode=0700,size=1m"),
        )
        .map_err(|error| failure(error.into()))?;
        for (number, source) in sources.iter().enumerate() {
            bind(
                &allocation.source(source)?,
                &folder.join(number.to_string()),
            )?;
        }
        Ok(stage)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder
            && let Err(error) = take_down(folder)
        {
            warn!(%error, stage = %folder.display(), "the mounts of a container's start are left behind");
        }
    }
}

/// Not recursive: nothing that is mounted below an allocation belongs into a container that did not ask for it, and
/// taking a copy of a shared mount down would take the original down as well.
fn bind(handle: &OwnedFd, target: &Path) -> Result<(), StageError> {
    let failure = |source: io::Error| StageError::Mount {
        path: target.to_owned(),
        source,
    };
    if is_directory(handle) {
        fs::create_dir(target).map_err(failure)?;
    } else {
        File::create_new(target).map_err(failure)?;
    }
    mount(
        Some(&proc_path(handle)),
        target,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
    .map_err(|error| failure(error.into()))?;
    let (source, mount) = (
        fstat(handle).map_err(|error| failure(error.into()))?,
        stat(target).map_err(|error| failure(error.into()))?,
    );
    if (source.st_dev, source.st_ino) == (mount.st_dev, mount.st_ino) {
        Ok(())
    } else {
        Err(StageError::Mismatch {
            path: target.to_owned(),
        })
    }
}

/// The allocation's and the tasks' own directories are in no container, so the names in them stay.
fn is_out_of_reach(path: &Path) -> bool {
    let parts: Vec<_> = path.iter().collect();
    matches!(parts.as_slice(), [_] | [_, _]) && (parts.len() == 1 || parts[0] != "alloc")
}

fn take_down(folder: &Path) -> io::Result<()> {
    match umount2(folder, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        // Nothing is mounted there.
        Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => {}
        Err(error) => return Err(error.into()),
    }
    match fs::remove_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Folders of processes that are gone: their lock can be taken.
fn sweep(root: &Path) {
    let Ok(entries) = fs::read_dir(root) else {
        return;
    };
    for process in entries.flatten().take(PROCESSES_MAX) {
        let path = process.path();
        let Ok(lock) = File::open(&path) else {
            continue;
        };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        let starts = fs::read_dir(&path).into_iter().flatten().flatten();
        for start in starts {
            if let Err(error) = take_down(&start.path()) {
                debug!(%error, stage = %start.path().display(), "an earlier process's mounts can't be removed");
            }
        }
        // Not empty: the next process tries again.
        let _ = fs::remove_dir(&path);
    }
}

/// A new folder below `root`.
fn free(root: &Path) -> io::Result<PathBuf> {
    for number in 0..PROCESSES_MAX {
        let path = root.join(number.to_string());
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map(|()| path),
        }
    }
    Err(io::Error::other("too many processes of this driver"))
}

fn check_owner(root: &Path) -> io::Result<()> {
    let stat = stat(root)?;
    if stat.st_uid == 0 && stat.st_mode & 0o022 == 0 {
        Ok(())
    } else {
        Err(io::Error::other("others than root can change this folder"))
    }
}
