//! The log files of one stream, `<task>.stdout.0`, `.1`, …, of which the highest number is the live one.
//!
//! The agent's logmon writes them from the FIFO. They are read here to learn what has arrived, and written here while
//! logmon's reader has ended and nobody has started it again (the plugin died under a living agent). The calls may
//! take as long as a disk does, so they are made off the workers; what they read is bounded, whatever a job has put there.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::time::SystemTime;

use tracing::debug;

use super::directory::{Access, Directory};

/// Enough to tell one place in a log from another.
pub(super) const TAIL_SIZE: usize = 4096;
/// The tail may be spread over so many files.
const TAIL_FILES_MAX: usize = 4;
/// Nomad's defaults; the job's own settings are not sent to drivers.
const DEFAULT_FILE_SIZE: u64 = 10 * 1024 * 1024;
const DEFAULT_FILE_COUNT: usize = 10;
/// The smallest file that is taken for a full one.
const FULL_FILE_SIZE_MIN: u64 = 64 * 1024;

#[derive(Debug, Clone)]
pub(super) struct Files {
    directory: Arc<Directory>,
    /// `web.stdout.`
    prefix: String,
}

/// The last bytes that arrived, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End {
    pub(super) tail: Vec<u8>,
    pub(super) write_time: SystemTime,
}

/// How far the files go: the live one and its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    number: u64,
    size: u64,
}

impl Files {
    /// From the FIFO's name, `.web.stdout.fifo`.
    pub(super) fn beside(directory: Arc<Directory>, fifo: &str) -> Self {
        let stem = fifo
            .trim_start_matches('.')
            .trim_end_matches("fifo")
            .trim_end_matches('.');
        Self {
            directory,
            prefix: format!("{stem}."),
        }
    }

    /// `None` when nothing has arrived yet.
    pub(super) fn end(&self) -> io::Result<Option<End>> {
        let mut tail = Vec::new();
        let mut write_time = None;
        for number in self.numbers()?.into_iter().rev().take(TAIL_FILES_MAX) {
            let Ok((bytes, at)) = self.last_bytes(number, TAIL_SIZE.saturating_sub(tail.len()))
            else {
                continue;
            };
            if !bytes.is_empty() {
                write_time.get_or_insert(at);
                tail.splice(0..0, bytes);
            }
            if tail.len() >= TAIL_SIZE {
                break;
            }
        }
        Ok(write_time.map(|write_time| End { tail, write_time }))
    }

    /// Changes whenever something arrives. No file is a position too: the begin of the first.
    pub(super) fn position(&self) -> io::Result<Position> {
        let number = self.numbers()?.pop().unwrap_or_default();
        let size = match self.size(number) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            size => size?,
        };
        Ok(Position { number, size })
    }

    /// How many bytes have arrived since; `None` when the file of then is gone.
    pub(super) fn growth_since(&self, start: Position) -> io::Result<Option<usize>> {
        let mut sum = 0_u64;
        let mut begins = None;
        for number in self.numbers()? {
            if number >= start.number {
                begins.get_or_insert(number);
                sum = sum.saturating_add(self.size(number)?);
            }
        }
        let is_complete = begins.is_none_or(|begins| begins == start.number);
        let growth = sum.checked_sub(start.size).filter(|_| is_complete);
        Ok(growth.and_then(|growth| usize::try_from(growth).ok()))
    }

    /// Appends, starting a new file where the live one is full, if it can be after the end of a line. Returns how much is
    /// in the files now, also when the rest failed.
    pub(super) fn append(&self, bytes: &[u8]) -> (usize, io::Result<()>) {
        let mut rest = bytes;
        let result = self.append_rest(&mut rest);
        (bytes.len().saturating_sub(rest.len()), result)
    }

    fn append_rest(&self, bytes: &mut &[u8]) -> io::Result<()> {
        let mut numbers = self.numbers()?;
        // If the collector has deleted files already, it did so by the job's own count.
        let count = match numbers.first() {
            Some(first) if *first > 0 => numbers.len(),
            _ => numbers.len().max(DEFAULT_FILE_COUNT),
        };
        let before = numbers.iter().rev().nth(1);
        let full = match before.map(|number| self.size(*number)) {
            Some(Ok(size)) => size.max(FULL_FILE_SIZE_MIN),
            _ => DEFAULT_FILE_SIZE,
        };
        let mut number = numbers.last().copied().unwrap_or_default();
        loop {
            let mut live = self.directory.create(&self.name(number))?;
            let size = live.metadata()?.len();
            let fit = fit(bytes, full.saturating_sub(size), size == 0);
            write(&mut live, bytes, fit)?;
            if bytes.is_empty() {
                break;
            }
            number = number
                .checked_add(1)
                .ok_or_else(|| io::Error::other("there is no number left for a log file"))?;
            numbers.push(number);
        }
        let excess = numbers.len().saturating_sub(count);
        for oldest in numbers.into_iter().take(excess) {
            // A folder of that name, say, which only a job can have made. The lines are written all the same.
            if let Err(error) = self.directory.remove(&self.name(oldest)) {
                debug!(%error, "an old log file stays");
            }
        }
        Ok(())
    }

    fn name(&self, number: u64) -> String {
        format!("{}{number}", self.prefix)
    }

    fn size(&self, number: u64) -> io::Result<u64> {
        let stat = self.directory.stat(&self.name(number))?;
        Ok(u64::try_from(stat.st_size).unwrap_or_default())
    }

    /// In order. `007` and `+7` are no names of log files.
    fn numbers(&self) -> io::Result<Vec<u64>> {
        let mut numbers = self.directory.names(|name| {
            let digits = name.strip_prefix(&self.prefix)?;
            let number: u64 = digits.parse().ok()?;
            (number.to_string() == digits).then_some(number)
        })?;
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn last_bytes(&self, number: u64, most: usize) -> io::Result<(Vec<u8>, SystemTime)> {
        let mut file = self.directory.file(&self.name(number), Access::Read)?;
        let metadata = file.metadata()?;
        let most = most as u64;
        file.seek(SeekFrom::Start(metadata.len().saturating_sub(most)))?;
        let mut bytes = Vec::new();
        file.take(most).read_to_end(&mut bytes)?;
        Ok((bytes, metadata.modified()?))
    }
}

/// Writes so much of `bytes`, which are always what is to be written yet.
fn write(file: &mut File, bytes: &mut &[u8], mut count: usize) -> io::Result<()> {
    while count > 0 {
        match file.write(&bytes[..count]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(length) => {
                *bytes = &bytes[length..];
                count = count.saturating_sub(length);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// How much of `bytes` goes into a file with so much room. An empty file takes all that it can hold.
fn fit(bytes: &[u8], room: u64, empty: bool) -> usize {
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    if bytes.len() <= room {
        return bytes.len();
    }
    let line = bytes[..room].iter().rposition(|byte| *byte == b'\n');
    match line {
        Some(last) => last.saturating_add(1),
        None if empty => room,
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn files(dir: &Path) -> Files {
        let directory = Directory::open(Path::new(""), dir).unwrap();
        Files::beside(Arc::new(directory), ".web.stdout.fifo")
    }

    fn append(files: &Files, bytes: &[u8]) {
        let (count, result) = files.append(bytes);
        result.unwrap();
        assert_eq!(count, bytes.len());
    }

    fn write(dir: &Path, name: &str, text: &str) {
        fs::write(dir.join(name), text).unwrap();
    }

    #[test]
    fn the_end_is_read_across_a_rotation_and_of_this_stream_only() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(files(dir.path()).end().unwrap(), None);
        for (name, text) in [
            ("web.stdout.9", "nine\n"),
            ("web.stdout.10", "ten\n"),
            ("web.stdout.11", ""),
            ("web.stderr.12", "other\n"),
            ("web.stdout.012", "no number of ours\n"),
            ("web.stdout.+13", "nor this\n"),
        ] {
            write(dir.path(), name, text);
        }
        let end = files(dir.path()).end().unwrap().unwrap();
        assert_eq!(end.tail, b"nine\nten\n");
    }

    #[test]
    fn growth_is_counted_over_a_rotation_and_unknown_once_the_begin_is_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path());
        let empty = files.position().unwrap();
        assert_eq!(files.growth_since(empty).unwrap(), Some(0));
        write(dir.path(), "web.stdout.0", "0123");
        let start = files.position().unwrap();
        write(dir.path(), "web.stdout.0", "01234567");
        write(dir.path(), "web.stdout.1", "89");
        assert_eq!(files.growth_since(start).unwrap(), Some(6));
        assert_eq!(files.growth_since(empty).unwrap(), Some(10));
        fs::remove_file(dir.path().join("web.stdout.0")).unwrap();
        assert_eq!(files.growth_since(start).unwrap(), None);
    }

    #[test]
    fn a_full_file_is_followed_by_the_next_number_at_the_end_of_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path());
        let lines = b"0123456789abcde\n".repeat(1024 * 1024);
        let (first, second) = lines.split_at(lines.len() / 2 + 5);
        append(&files, first);
        append(&files, second);
        assert_eq!(files.numbers().unwrap(), [0, 1]);
        let (first, second) = (files.size(0).unwrap(), files.size(1).unwrap());
        assert!(first <= DEFAULT_FILE_SIZE && first % 16 == 0, "{first}");
        assert_eq!(first + second, lines.len() as u64);
    }

    #[test]
    fn the_jobs_own_size_and_count_are_kept_where_the_files_tell_them() {
        let dir = tempfile::tempdir().unwrap();
        for number in [7, 8] {
            write(
                dir.path(),
                &format!("web.stdout.{number}"),
                &"x".repeat(100_000),
            );
        }
        write(dir.path(), "web.stdout.9", "begun\n");
        append(&files(dir.path()), &vec![b'y'; 350_000]);
        let files = files(dir.path());
        assert_eq!(files.numbers().unwrap(), [11, 12, 13]);
        assert_eq!(files.size(11).unwrap(), 100_000);
    }

    #[test]
    fn nothing_is_deleted_before_the_usual_count_where_the_collector_deleted_nothing() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..3 {
            write(
                dir.path(),
                &format!("web.stdout.{number}"),
                &"x".repeat(100_000),
            );
        }
        append(&files(dir.path()), &vec![b'y'; 650_000]);
        assert_eq!(files(dir.path()).numbers().unwrap().len(), 10);
    }

    #[test]
    fn the_largest_number_that_a_job_can_think_of_is_an_error_and_what_was_written_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &format!("web.stdout.{}", u64::MAX), "");
        let bytes = vec![b'x'; 11 * 1024 * 1024];
        let (count, result) = files(dir.path()).append(&bytes);
        assert!(result.is_err());
        assert_eq!(u64::try_from(count), Ok(DEFAULT_FILE_SIZE));
    }

    #[test]
    fn a_folder_that_a_job_puts_in_place_of_an_old_file_does_not_have_lines_written_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("web.stdout.0")).unwrap();
        for number in 1..=DEFAULT_FILE_COUNT {
            write(dir.path(), &format!("web.stdout.{number}"), "old\n");
        }
        // More than one file takes, so that the oldest has to go.
        append(&files(dir.path()), &b"new\n".repeat(20_000));
        let files = files(dir.path());
        assert_eq!(files.numbers().unwrap().len(), DEFAULT_FILE_COUNT + 2);
    }
}
