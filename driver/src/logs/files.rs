//! The log files of one stream, `<task>.stdout.0`, `.1`, …, of which the highest number is the live one.
//!
//! The agent's logmon writes them from the FIFO. They are read here to learn what has arrived, and written here when
//! logmon's reader has ended and nobody starts it again (the plugin died under a living agent).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use nix::libc;

/// Enough to tell one place in a log from another.
const TAIL: u64 = 4096;
/// Nomad's defaults; the job's own settings are not sent to drivers.
const DEFAULT_SIZE: u64 = 10 * 1024 * 1024;
const DEFAULT_COUNT: usize = 10;

#[derive(Debug, Clone)]
pub(super) struct Files {
    directory: PathBuf,
    /// `web.stdout.`
    prefix: String,
}

/// The last bytes that arrived, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End {
    pub(super) tail: Vec<u8>,
    pub(super) written: SystemTime,
}

impl Files {
    /// From the FIFO's path, `…/logs/.web.stdout.fifo`.
    pub(super) fn beside(fifo: &Path) -> Self {
        let name = fifo
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let stem = name
            .trim_start_matches('.')
            .trim_end_matches("fifo")
            .trim_end_matches('.');
        Self {
            directory: fifo.parent().unwrap_or(Path::new("/")).to_owned(),
            prefix: format!("{stem}."),
        }
    }

    /// `None` when nothing has arrived yet.
    pub(super) fn end(&self) -> Option<End> {
        let mut tail = Vec::new();
        let mut written = None;
        for (_, path) in self.all().into_iter().rev() {
            let Ok((bytes, at)) = last_bytes(&path, TAIL - tail.len() as u64) else {
                continue;
            };
            if !bytes.is_empty() {
                written.get_or_insert(at);
                tail.splice(0..0, bytes);
            }
            if tail.len() as u64 >= TAIL {
                break;
            }
        }
        written.map(|written| End { tail, written })
    }

    /// Size and time of the live file: changes whenever something arrives.
    pub(super) fn stamp(&self) -> Option<(u64, SystemTime)> {
        let (_, path) = self.all().pop()?;
        let found = fs::metadata(path).ok()?;
        Some((found.len(), found.modified().ok()?))
    }

    /// Appends, starting a new file when the live one is full.
    pub(super) fn append(&self, chunks: &[Bytes]) -> io::Result<()> {
        let mut all = self.all();
        let full = all
            .iter()
            .rev()
            .nth(1)
            .and_then(|(_, previous)| fs::metadata(previous).ok())
            .map_or(DEFAULT_SIZE, |file| file.len());
        let mut live = match all.last() {
            Some((_, path)) => open(path)?,
            None => open(&self.path(0))?,
        };
        for chunk in chunks {
            if live.metadata()?.len() + chunk.len() as u64 > full.max(64 * 1024) {
                let next = all.last().map_or(1, |(number, _)| number + 1);
                live = open(&self.path(next))?;
                all.push((next, self.path(next)));
            }
            live.write_all(chunk)?;
        }
        for (_, old) in all.iter().rev().skip(DEFAULT_COUNT) {
            fs::remove_file(old)?;
        }
        Ok(())
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{}{number}", self.prefix))
    }

    /// By number.
    fn all(&self) -> Vec<(u64, PathBuf)> {
        let Ok(entries) = fs::read_dir(&self.directory) else {
            return Vec::new();
        };
        let numbered = |entry: fs::DirEntry| {
            Some((
                entry
                    .file_name()
                    .to_str()?
                    .strip_prefix(&self.prefix)?
                    .parse()
                    .ok()?,
                entry.path(),
            ))
        };
        let mut all: Vec<_> = entries.flatten().filter_map(numbered).collect();
        all.sort();
        all
    }
}

/// The task can write into this directory: no links are followed.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o644)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

fn last_bytes(path: &Path, most: u64) -> io::Result<(Vec<u8>, SystemTime)> {
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    let found = file.metadata()?;
    file.seek(SeekFrom::Start(found.len().saturating_sub(most)))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok((bytes, found.modified()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(dir: &Path) -> Files {
        Files::beside(&dir.join(".web.stdout.fifo"))
    }

    #[test]
    fn the_end_is_read_across_a_rotation_and_of_this_stream_only() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("web.stdout.9", "nine\n"),
            ("web.stdout.10", "ten\n"),
            ("web.stdout.11", ""),
            ("web.stderr.12", "other\n"),
        ] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        assert_eq!(files(dir.path()).end().unwrap().tail, b"nine\nten\n");
        assert_eq!(files(&dir.path().join("nowhere")).end(), None);
    }

    #[test]
    fn a_full_file_is_followed_by_the_next_number() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path());
        let chunk = Bytes::from(vec![b'x'; 6 * 1024 * 1024]);
        files.append(std::slice::from_ref(&chunk)).unwrap();
        files.append(&[chunk]).unwrap();
        assert_eq!(files.all().len(), 2);
    }
}
