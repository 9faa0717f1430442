//! One writer for each network namespace: IPVS tells nobody about changes, so two writers would undo each other.
//!
//! The writer holds two things. A name of abstract unix sockets belongs to the namespace, and no cleaner of files can take
//! it away; but any account may be there first. A lock on a file in a folder of ours can't be had by other accounts, but the
//! file may be removed. Whoever finds the name with another account goes by the lock alone, and says so.

use std::fs::{DirBuilder, File};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, UnixCredentials, connect, getsockopt, socket,
};
use tracing::warn;

/// The folder of locks unless the config names another: they must not outlive a boot.
pub const RUN_DIR: &str = "/run/nomad-ipvs";

/// The name that a director of a network namespace holds.
pub const NAME: &str = "nomad-ipvs/director";

/// Held as long as it lives.
#[derive(Debug)]
pub struct NamespaceLock {
    _file: Flock<File>,
    _name: Option<UnixListener>,
}

/// Why this process can't be the writer.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error(
        "another director, process {holder}, already writes to this network namespace's IPVS; stop it first ({by})"
    )]
    Held { holder: String, by: String },
    #[error("lock {}: {doing}", path.display())]
    Io {
        path: PathBuf,
        doing: &'static str,
        source: io::Error,
    },
    #[error("the name @{name} of this network namespace's director can't be had")]
    Name { name: String, source: io::Error },
}

/// Becomes the writer of the calling thread's network namespace.
pub fn lock(run_dir: &Path, name: &str) -> Result<NamespaceLock, LockError> {
    let file = lock_file(run_dir)?;
    let name = take_name(name)?;
    Ok(NamespaceLock {
        _file: file,
        _name: name,
    })
}

fn lock_file(run_dir: &Path) -> Result<Flock<File>, LockError> {
    let namespace = Path::new("/proc/thread-self/ns/net");
    let io = |path: &Path, doing| {
        let path = path.to_owned();
        move |source| LockError::Io {
            path,
            doing,
            source,
        }
    };
    let inode = std::fs::metadata(namespace)
        .map_err(io(namespace, "which namespace is this?"))?
        .ino();
    let mut folder = DirBuilder::new();
    folder.recursive(true).mode(0o755);
    folder
        .create(run_dir)
        .map_err(io(run_dir, "create the directory"))?;
    let path = run_dir.join(format!("director-{inode}.lock"));
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        // Whoever may read it could hold the lock.
        .mode(0o600)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(&path)
        .map_err(io(&path, "open"))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(mut file) => {
            file.set_len(0)
                .and_then(|()| file.rewind())
                .and_then(|()| writeln!(file, "{}", std::process::id()))
                .map_err(io(&path, "write our process id"))?;
            Ok(file)
        }
        Err((file, Errno::EWOULDBLOCK)) => {
            let mut holder = String::new();
            let _ = file.take(32).read_to_string(&mut holder);
            Err(LockError::Held {
                holder: holder.trim().to_owned(),
                by: format!("lock {}", path.display()),
            })
        }
        Err((_, errno)) => Err(io(&path, "lock")(errno.into())),
    }
}

/// `None`: another account has the name.
fn take_name(name: &str) -> Result<Option<UnixListener>, LockError> {
    let failed = |source| LockError::Name {
        name: name.to_owned(),
        source,
    };
    let address = SocketAddr::from_abstract_name(name).map_err(failed)?;
    match UnixListener::bind_addr(&address) {
        Ok(listener) => return Ok(Some(listener)),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
        Err(error) => return Err(failed(error)),
    }
    let us = nix::unistd::geteuid().as_raw();
    match holder(name) {
        Ok(holder) if [0, us].contains(&holder.uid()) => Err(LockError::Held {
            holder: holder.pid().to_string(),
            by: format!("name @{name}"),
        }),
        Ok(holder) => {
            warn!(
                name,
                process = holder.pid(),
                user = holder.uid(),
                "another account holds the name of this network namespace's director; going by the lock file alone"
            );
            Ok(None)
        }
        Err(error) => {
            warn!(name, %error, "who holds the name of this network namespace's director can't be seen; going by the lock file alone");
            Ok(None)
        }
    }
}

/// Finds who listens under an abstract name, without waiting for it.
fn holder(name: &str) -> nix::Result<UnixCredentials> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let stream: OwnedFd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(
        stream.as_raw_fd(),
        &UnixAddr::new_abstract(name.as_bytes())?,
    )?;
    getsockopt(&stream, PeerCredentials)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names are the namespace's: a test has one of its own.
    fn name(of: &str) -> String {
        format!("nomad-ipvs/test-{of}-{}", std::process::id())
    }

    fn is_held_by_us(error: &LockError) -> bool {
        error
            .to_string()
            .contains(&format!("process {}", std::process::id()))
    }

    #[test]
    fn a_second_writer_is_told_who_the_first_is() {
        let (dir, name) = (tempfile::tempdir().unwrap(), name("second"));
        let first = lock(dir.path(), &name).unwrap();
        let error = lock(dir.path(), &name).unwrap_err();
        assert!(is_held_by_us(&error), "{error}");
        drop(first);
        lock(dir.path(), &name).unwrap();
    }

    #[test]
    fn a_lock_file_that_a_cleaner_removed_lets_no_second_writer_in() {
        let (dir, name) = (tempfile::tempdir().unwrap(), name("cleaner"));
        let first = lock(dir.path(), &name).unwrap();
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            std::fs::remove_file(entry.unwrap().path()).unwrap();
        }
        let error = lock(dir.path(), &name).unwrap_err();
        assert!(is_held_by_us(&error), "{error}");
        assert!(
            error.to_string().contains("name @nomad-ipvs/test"),
            "{error}"
        );
        drop(first);
        lock(dir.path(), &name).unwrap();
    }
}
