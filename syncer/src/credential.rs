//! Files that hold certificates, keys or a token. Only a regular file is read, and only a small one, so that neither a FIFO
//! nor a device holds the process up.

pub mod pem;
pub mod token;

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;

/// The longest file of certificates, keys or a token.
pub const FILE_LIMIT: u64 = 1024 * 1024;

/// The permission bits by which others than the owner may read a file.
const READABLE_BY_OTHERS: u32 = 0o044;

/// What tells two states of a file apart without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Reads the stamp of the file that is at that path now.
    pub fn of(path: &Path) -> io::Result<Self> {
        let file = std::fs::metadata(path)?;
        Ok(Self {
            inode: file.ino(),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        })
    }
}

/// Reads a regular file of at most [`FILE_LIMIT`] bytes.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    // A FIFO without a writer must not hold the open up.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ));
    }
    read_bounded(file)
}

/// Reads whatever is open, up to [`FILE_LIMIT`] bytes.
pub(crate) fn read_bounded(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(FILE_LIMIT.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > FILE_LIMIT {
        let text = format!("longer than {FILE_LIMIT} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}

/// The permission bits of a file that others than its owner may read.
pub fn exposed_mode(path: &Path) -> Option<u32> {
    let mode = std::fs::metadata(path).ok()?.mode() & 0o777;
    (mode & READABLE_BY_OTHERS != 0).then_some(mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_small_regular_file_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("small"), "x").unwrap();
        assert_eq!(read(&at("small")).unwrap(), b"x");
        let limit = usize::try_from(FILE_LIMIT).unwrap();
        std::fs::write(at("large"), vec![0; limit + 1]).unwrap();
        let error = read(&at("large")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
        nix::unistd::mkfifo(&at("fifo"), mode).unwrap();
        for odd in [at("fifo"), "/dev/zero".into(), folder.path().to_owned()] {
            let error = read(&odd).unwrap_err();
            assert_eq!(error.to_string(), "not a regular file", "{}", odd.display());
        }
    }

    #[test]
    fn a_file_that_group_or_others_may_read_is_exposed() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "x").unwrap();
        for (mode, exposed) in [(0o600, None), (0o640, Some(0o640)), (0o604, Some(0o604))] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(exposed_mode(&path), exposed);
        }
    }
}
