//! Reads a task's log as it grows, and tells the age of each line, which begins with the machine's uptime.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// What is read at a time; what is longer comes with the next look.
const READ_LIMIT: u64 = 1 << 20;

pub(super) struct Witness {
    folder: PathBuf,
    task: String,
    number: u32,
    file: File,
    /// A line whose end has not come yet.
    begun: String,
}

impl Witness {
    pub(super) fn of(folder: &Path, task: &str) -> Result<Self> {
        Ok(Self {
            folder: folder.to_owned(),
            task: task.to_owned(),
            number: 0,
            file: open(folder, task, 0)?,
            begun: String::new(),
        })
    }

    /// The ages of the lines that came since the last call, in milliseconds.
    pub(super) fn lags(&mut self) -> Result<Vec<f64>> {
        let mut text = std::mem::take(&mut self.begun);
        (&mut self.file)
            .take(READ_LIMIT)
            .read_to_string(&mut text)?;
        let now = uptime()?;
        // The collector may have gone on to the next file.
        if let Ok(next) = open(&self.folder, &self.task, self.number + 1) {
            (&mut self.file)
                .take(READ_LIMIT)
                .read_to_string(&mut text)?;
            (self.file, self.number) = (next, self.number + 1);
        }
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        self.begun = text.split_off(whole);
        Ok(ages(&text, now))
    }
}

fn open(folder: &Path, task: &str, number: u32) -> Result<File> {
    let path = folder.join(format!("{task}.stdout.{number}"));
    File::open(&path).with_context(|| format!("open {}", path.display()))
}

/// Seconds.
fn uptime() -> Result<f64> {
    let text = fs::read_to_string("/proc/uptime").context("read /proc/uptime")?;
    let first = text.split(' ').next().and_then(|first| first.parse().ok());
    first.with_context(|| format!("no number in {text:?}"))
}

fn ages(text: &str, now: f64) -> Vec<f64> {
    let written = text.lines().filter_map(|line| line.parse::<f64>().ok());
    written
        .map(|written| (now - written).max(0.0) * 1000.0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_as_old_as_the_time_that_passed_since_it_says() {
        let ages = ages("10.00\n10.25\nnothing\n11.00\n", 10.5);
        assert_eq!(ages, [500.0, 250.0, 0.0]);
    }

    #[test]
    fn a_log_is_read_on_over_its_files_and_by_whole_lines() {
        let folder = tempfile::tempdir().unwrap();
        let file = |number: u32| folder.path().join(format!("clock.stdout.{number}"));
        fs::write(file(0), "1.0\n2.").unwrap();
        let mut witness = Witness::of(folder.path(), "clock").unwrap();
        assert_eq!(witness.lags().unwrap().len(), 1);
        fs::write(file(0), "1.0\n2.0\n3.0\n").unwrap();
        fs::write(file(1), "4.0\n").unwrap();
        assert_eq!(witness.lags().unwrap().len(), 2);
        assert_eq!(witness.lags().unwrap().len(), 1);
    }
}
