//! The socket where drivers tell: for this user only from its first moment on, and one syncer's at a time.
//!
//! It is bound in a folder that nobody else can enter and moved to its place when its mode is set. What lies in its place
//! is replaced only if it is a socket of ours on which nobody listens any more; a lock beside it is held as long as we live.

use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use tokio::net::UnixListener;
use tracing::warn;

/// Others may write; what they could do with our socket, the sticky bit keeps them from.
const WRITABLE_BY_OTHERS: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// The socket can't be had.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("hints.socket {}: {doing}", path.display())]
    Io {
        path: PathBuf,
        doing: &'static str,
        source: io::Error,
    },
    #[error("hints.socket {}: another syncer, process {holder}, serves it; stop it first (lock {})", path.display(), lock.display())]
    Held {
        path: PathBuf,
        lock: PathBuf,
        holder: String,
    },
    #[error("hints.socket {}: somebody listens there who holds no lock; stop that program first", path.display())]
    Listened { path: PathBuf },
    #[error("hints.socket {}: there is something that is no socket; it is not removed", path.display())]
    NoSocket { path: PathBuf },
    #[error("hints.socket {}: there is a socket of user {owner}, and we are user {us}; it is not removed", path.display())]
    Foreign { path: PathBuf, owner: u32, us: u32 },
    #[error("hints.socket {}: its folder may be written by others (mode {mode:04o}); make it 0755 or less", path.display())]
    OpenFolder { path: PathBuf, mode: u32 },
}

/// How often the socket's owner looks whether drivers still find it.
pub(super) const WATCH_INTERVAL: Duration = Duration::from_mins(1);

/// Held as long as the socket is served.
#[derive(Debug)]
pub(super) struct SocketLock {
    _file: Flock<File>,
    path: PathBuf,
    /// Device and inode of what was put there.
    bound: (u64, u64),
}

impl SocketLock {
    /// Whether what is at its path is still the socket that was bound.
    pub(super) fn is_in_place(&self) -> bool {
        identity(&self.path).is_ok_and(|current| current == self.bound)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let about = std::fs::symlink_metadata(path)?;
    Ok((about.dev(), about.ino()))
}

/// Listens at that path, for this user only.
pub(super) fn bind(path: &Path) -> Result<(UnixListener, SocketLock), SocketError> {
    let failed = |doing| {
        move |source: io::Error| SocketError::Io {
            path: path.to_owned(),
            doing,
            source,
        }
    };
    let us = nix::unistd::geteuid().as_raw();
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
        .create(folder)
        .map_err(failed("create its folder"))?;
    let about = std::fs::metadata(folder).map_err(failed("look at its folder"))?;
    let (mode, owner) = (about.mode() & 0o7777, about.uid());
    if mode & WRITABLE_BY_OTHERS != 0 && mode & STICKY == 0 {
        let path = path.to_owned();
        return Err(SocketError::OpenFolder { path, mode });
    }
    if ![0, us].contains(&owner) {
        warn!(
            socket = %path.display(), user = owner,
            "the folder of hints.socket is another user's, who can put a socket of their own in its place"
        );
    }
    let file = lock(path)?;
    replaceable(path, us)?;
    let staging = folder.join(format!(".{}", std::process::id()));
    // Left by a process of the same number that was killed in between.
    let _ = std::fs::remove_file(staging.join("s"));
    let _ = std::fs::remove_dir(&staging);
    DirBuilder::new()
        .mode(0o700)
        .create(&staging)
        .map_err(failed("create a folder to bind it in"))?;
    let inside = staging.join("s");
    let bound = UnixListener::bind(&inside)
        .map_err(failed("listen"))
        .and_then(|listener| {
            std::fs::set_permissions(&inside, Permissions::from_mode(0o600))
                .map_err(failed("make it ours alone"))?;
            std::fs::rename(&inside, path).map_err(failed("move it to its place"))?;
            Ok(listener)
        });
    let _ = std::fs::remove_file(&inside);
    let _ = std::fs::remove_dir(&staging);
    let listener = bound?;
    let lock = SocketLock {
        _file: file,
        path: path.to_owned(),
        bound: identity(path).map_err(failed("look at it"))?,
    };
    Ok((listener, lock))
}

fn lock(path: &Path) -> Result<Flock<File>, SocketError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let at = PathBuf::from(name);
    let failed = |doing| {
        let path = at.clone();
        move |source: io::Error| SocketError::Io {
            path,
            doing,
            source,
        }
    };
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
        .open(&at)
        .map_err(failed("open its lock"))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(mut file) => {
            file.set_len(0)
                .and_then(|()| file.rewind())
                .and_then(|()| writeln!(file, "{}", std::process::id()))
                .map_err(failed("write our process id into its lock"))?;
            Ok(file)
        }
        Err((file, Errno::EWOULDBLOCK)) => {
            let mut holder = String::new();
            let _ = file.take(32).read_to_string(&mut holder);
            Err(SocketError::Held {
                path: path.to_owned(),
                holder: holder.trim().to_owned(),
                lock: at,
            })
        }
        Err((_, errno)) => Err(failed("lock")(errno.into())),
    }
}

/// Whether nothing is there, or a socket of ours that nobody serves.
fn replaceable(path: &Path, us: u32) -> Result<(), SocketError> {
    let io = |doing| {
        move |source: io::Error| SocketError::Io {
            path: path.to_owned(),
            doing,
            source,
        }
    };
    let path = path.to_owned();
    let about = match std::fs::symlink_metadata(&path) {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io("look at what is there")(error)),
    };
    if !about.file_type().is_socket() {
        return Err(SocketError::NoSocket { path });
    }
    let owner = about.uid();
    if owner != us {
        return Err(SocketError::Foreign { path, owner, us });
    }
    match try_connect(&path) {
        // A queue that is full is somebody's as well.
        Ok(()) | Err(Errno::EAGAIN) => Err(SocketError::Listened { path }),
        Err(Errno::ECONNREFUSED | Errno::ENOENT) => Ok(()),
        Err(errno) => Err(io("see whether somebody listens")(errno.into())),
    }
}

fn try_connect(path: &Path) -> nix::Result<()> {
    use std::os::fd::AsRawFd;
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let stream = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(stream.as_raw_fd(), &UnixAddr::new(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/syncer.sock");
        (folder, path)
    }

    #[tokio::test]
    async fn it_is_ours_alone_in_a_folder_that_is_ours_alone_and_nothing_else_is_left() {
        let (_folder, path) = folder();
        let (_listener, lock) = bind(&path).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        let inside = std::fs::read_dir(path.parent().unwrap()).unwrap();
        let mut names: Vec<_> = inside.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["syncer.sock", "syncer.sock.lock"]);
        std::os::unix::net::UnixStream::connect(&path).unwrap();
        assert!(lock.is_in_place());
        std::fs::remove_file(&path).unwrap();
        assert!(!lock.is_in_place(), "removed by a cleaner");
        std::fs::write(&path, b"").unwrap();
        assert!(!lock.is_in_place(), "something else");
    }

    #[tokio::test]
    async fn a_second_syncer_is_told_who_the_first_is_and_takes_nothing() {
        let (_folder, path) = folder();
        let (listener, lock) = bind(&path).unwrap();
        let error = bind(&path).unwrap_err();
        assert!(
            matches!(&error, SocketError::Held { holder, .. } if *holder == std::process::id().to_string()),
            "{error}"
        );
        // The lock was removed by a cleaner: whoever listens is still found.
        std::fs::remove_file(path.with_extension("sock.lock")).unwrap();
        let error = bind(&path).unwrap_err();
        assert!(matches!(error, SocketError::Listened { .. }), "{error}");
        let _first = std::os::unix::net::UnixStream::connect(&path).unwrap();
        drop((listener, lock));
        // What a killed process has left is taken over.
        assert!(path.exists());
        bind(&path).unwrap();
    }

    #[tokio::test]
    async fn what_is_no_socket_stays_and_says_so() {
        let (_folder, path) = folder();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, b"precious").unwrap();
        let error = bind(&path).unwrap_err();
        assert!(matches!(error, SocketError::NoSocket { .. }), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        std::fs::remove_file(&path).unwrap();
        let precious = path.with_file_name("precious");
        std::fs::write(&precious, b"precious").unwrap();
        std::os::unix::fs::symlink(&precious, &path).unwrap();
        let error = bind(&path).unwrap_err();
        assert!(matches!(error, SocketError::NoSocket { .. }), "{error}");
        assert!(path.is_symlink() && precious.exists());
    }

    #[tokio::test]
    async fn a_folder_that_others_may_write_is_refused_unless_it_is_sticky() {
        let (_folder, path) = folder();
        let inside = path.parent().unwrap();
        std::fs::create_dir_all(inside).unwrap();
        for (mode, good) in [
            (0o777, false),
            (0o770, false),
            (0o1777, true),
            (0o755, true),
        ] {
            std::fs::set_permissions(inside, Permissions::from_mode(mode)).unwrap();
            let bound = bind(&path);
            let refused = matches!(&bound, Err(SocketError::OpenFolder { .. }));
            assert_eq!(
                (bound.is_ok(), refused),
                (good, !good),
                "{mode:o} {bound:?}"
            );
        }
    }
}
