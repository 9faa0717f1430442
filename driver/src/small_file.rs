//! Reads a small regular file by its path: what people wrote, of which nothing is known before it is looked at.
//!
//! A device, a FIFO or a file of the kernel's is refused before it is opened. Reading blocks no longer than the file
//! system does.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// All that is in the file, which has to be 1 to `size_max` bytes.
pub(crate) fn read(path: &Path, size_max: u64) -> io::Result<Vec<u8>> {
    // A handle only: a device, a FIFO or a file of the kernel's does not notice.
    let handle = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let handle = File::from(handle);
    let metadata = handle.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    // A file that the kernel makes up while it is read says that it is empty.
    if !(1..=size_max).contains(&metadata.len()) {
        let size = metadata.len();
        let text = format!("it has {size} bytes; 1 to {size_max} are taken");
        return Err(io::Error::other(text));
    }
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or_default())
        .open(format!("/proc/self/fd/{}", handle.as_raw_fd()))?;
    let mut bytes = Vec::new();
    file.take(size_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}
