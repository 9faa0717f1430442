//! One writer for each network namespace: IPVS tells nobody about changes, so two writers would undo each other.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

/// Where locks lie when nothing else is said: they must not outlive a boot.
pub const RUN_DIR: &str = "/run/nomad-ipvs";

/// Held as long as it lives.
#[derive(Debug)]
pub struct NamespaceLock {
    _file: Flock<File>,
}

/// Why this process can't be the writer.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("another director, process {holder}, already writes to this network namespace's IPVS; stop it first (lock {})", path.display())]
    Held { holder: String, path: PathBuf },
    #[error("lock {}: {doing}", path.display())]
    Io {
        path: PathBuf,
        doing: &'static str,
        source: io::Error,
    },
}

/// Becomes the writer of the calling thread's network namespace.
pub fn lock(run_dir: &Path) -> Result<NamespaceLock, LockError> {
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
    std::fs::create_dir_all(run_dir).map_err(io(run_dir, "create the directory"))?;
    let path = run_dir.join(format!("director-{inode}.lock"));
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(io(&path, "open"))?;
    let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(file) => file,
        Err((mut file, nix::errno::Errno::EWOULDBLOCK)) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let holder = holder.trim().to_owned();
            return Err(LockError::Held { holder, path });
        }
        Err((_, errno)) => return Err(io(&path, "lock")(errno.into())),
    };
    let note = || -> io::Result<()> {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())?;
        file.flush()
    };
    let mut note = note;
    note().map_err(io(&path, "write our process id"))?;
    Ok(NamespaceLock { _file: file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_writer_is_told_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock(dir.path()).unwrap();
        let error = lock(dir.path()).unwrap_err();
        assert!(
            error
                .to_string()
                .contains(&format!("process {}", std::process::id())),
            "{error}"
        );
        drop(first);
        lock(dir.path()).unwrap();
    }
}
