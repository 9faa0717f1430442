//! An allocation's log directory, held by a descriptor, never by a path.
//!
//! A job can put anything there, and anything in the directory's place: links, devices, FIFOs, a hundred thousand files.
//! This process is root. So the way down from the allocation's own directory follows no link; what lies in the log
//! directory is looked at before it is opened for anything (opening a device can be an act in itself); and only a
//! regular file with one name, or a FIFO of our own user, is opened at all. No call here waits for anybody: a FIFO
//! without a reader, or a file that its owner has a lease on, is an error at once.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2, unlinkat,
};
use rustix::process::geteuid;
use tokio::task::spawn_blocking;

/// More than this in one log directory is no log any more, and is not read to its end.
const ENTRIES_MAX: usize = 10_000;

/// The purpose for which a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Append,
}

#[derive(Debug)]
pub(super) struct Directory(OwnedFd);

/// A FIFO that was looked at and not opened.
#[derive(Debug)]
pub(super) struct Fifo(OwnedFd);

impl Fifo {
    /// Never waits: for writing there has to be a reader.
    pub(super) fn open(&self, access: Access) -> io::Result<File> {
        reopen(&self.0, access)
    }
}

impl Directory {
    /// `path` is the log directory's. What of it lies below `allocation` is not trusted.
    pub(super) fn open(allocation: &Path, path: &Path) -> io::Result<Self> {
        let (root, below) = match path.strip_prefix(allocation) {
            Ok(below) if !allocation.as_os_str().is_empty() => (allocation, below),
            _ => (path, Path::new("")),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, root, flags, Mode::empty())?;
        if below.as_os_str().is_empty() {
            return Ok(Self(root));
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match openat2(&root, below, flags, Mode::empty(), resolve) {
            Ok(directory) => Ok(Self(directory)),
            // Linux before 5.6, or a filter of system calls that is as old.
            Err(rustix::io::Errno::NOSYS) => step_by_step(root, below).map(Self),
            Err(error) => Err(error.into()),
        }
    }

    /// A regular file.
    pub(super) fn file(&self, name: &str, access: Access) -> io::Result<File> {
        let handle = self.look(name)?;
        let stat = fstat(&handle)?;
        if !is_plain(&stat) {
            return Err(refusal(name, "not a regular file with one name"));
        }
        reopen(&handle, access)
    }

    /// A regular file that is made if it is not there.
    pub(super) fn create(&self, name: &str) -> io::Result<File> {
        match self.file(name, Access::Append) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            other => return other,
        }
        let flags = OFlags::WRONLY
            | OFlags::APPEND
            | OFlags::CREATE
            | OFlags::EXCL
            | OFlags::NONBLOCK
            | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
        Ok(openat(&self.0, plain_name(name)?, flags, mode)?.into())
    }

    /// The agent's FIFO.
    pub(super) fn fifo(&self, name: &str) -> io::Result<Fifo> {
        let handle = self.look(name)?;
        let stat = fstat(&handle)?;
        let is_own = FileType::from_raw_mode(stat.st_mode) == FileType::Fifo
            && stat.st_nlink == 1
            && stat.st_uid == geteuid().as_raw();
        if is_own {
            Ok(Fifo(handle))
        } else {
            Err(refusal(name, "not the agent's FIFO"))
        }
    }

    /// Size and time of a regular file.
    pub(super) fn stat(&self, name: &str) -> io::Result<Stat> {
        let stat = fstat(self.look(name)?)?;
        if is_plain(&stat) {
            Ok(stat)
        } else {
            Err(refusal(name, "not a regular file with one name"))
        }
    }

    /// The name itself, whatever it stands for.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        Ok(unlinkat(&self.0, plain_name(name)?, AtFlags::empty())?)
    }

    /// The names for which `select` has something, in no order.
    pub(super) fn names<T>(&self, select: impl Fn(&str) -> Option<T>) -> io::Result<Vec<T>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut listing = Dir::new(openat(&self.0, ".", flags, Mode::empty())?)?;
        let mut names = Vec::new();
        for _ in 0..=ENTRIES_MAX {
            let Some(entry) = listing.read() else {
                return Ok(names);
            };
            names.extend(entry?.file_name().to_str().ok().and_then(&select));
        }
        Err(io::Error::new(
            ErrorKind::PermissionDenied,
            format!("there are more than {ENTRIES_MAX} entries in the log directory"),
        ))
    }

    /// A handle of the entry with this name, which is not opened.
    fn look(&self, name: &str) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(&self.0, plain_name(name)?, flags, Mode::empty())?)
    }
}

/// One directory after the other, none of them through a link.
fn step_by_step(root: OwnedFd, below: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
    below
        .components()
        .try_fold(root, |folder, part| match part {
            Component::Normal(name) => Ok(openat(&folder, name, flags, Mode::empty())?),
            _ => Err(io::Error::from(ErrorKind::InvalidInput)),
        })
}

/// Exactly what was looked at, even if something else has its name by now.
fn reopen(handle: &OwnedFd, access: Access) -> io::Result<File> {
    let path = format!("/proc/self/fd/{}", handle.as_fd().as_raw_fd());
    let access = match access {
        Access::Read => OFlags::RDONLY,
        Access::Append => OFlags::WRONLY | OFlags::APPEND,
    };
    let flags = access | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    Ok(openat(CWD, path, flags, Mode::empty())?.into())
}

fn is_plain(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink == 1
}

/// A name leads nowhere else.
fn plain_name(name: &str) -> io::Result<&str> {
    let leads = name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']);
    if leads {
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            format!("{name:?} is no file's name"),
        ));
    }
    Ok(name)
}

/// An error that no later look will mend: the caller must give the bytes up.
fn refusal(name: &str, reason: &str) -> io::Error {
    io::Error::new(
        ErrorKind::PermissionDenied,
        format!("{name:?} in the log directory is {reason}"),
    )
}

/// File work, where it holds nobody up.
pub(super) async fn off_worker<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests;
