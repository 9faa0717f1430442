//! End-to-end stories: built as the person, told with the lab's rights, one at a time.

use std::process::Command;

use super::Bench;
use super::binaries::{self, Binary};
use super::libtest::Reader;
use super::tally::Verdict;
use super::unit::told;
use crate::paths::workspace;
use crate::stream::{self, Tail};

/// Tells the stories which lab to use.
const LAB: &str = "NOMAD_IPVS_LAB";

/// The folder of their package.
const PACKAGE: &str = "tests";

/// Whether the stories run the ignored tests of a binary, given as cargo announces it: the driver's engine suite needs
/// an engine, and the syncer's daemon a Consul; the stories have both.
pub(super) fn runs(announced: &str) -> bool {
    ["tests/engine.rs ", "tests/daemon/main.rs "]
        .iter()
        .any(|name| announced.starts_with(name))
}

pub(super) fn run(bench: &Bench<'_>, show: &mut dyn FnMut(&str)) -> Verdict {
    if let Err(why) = &bench.stories {
        return Verdict::Skipped {
            why: why.clone(),
            tests: 0,
        };
    }
    let binaries = match binaries::build(bench, show) {
        Ok(all) => all
            .into_iter()
            .filter(|binary| binary.folder == workspace().join(PACKAGE))
            .collect::<Vec<_>>(),
        Err(error) => return Verdict::broken(&error),
    };
    let mut reader = Reader::default();
    let mut tail = Tail::default();
    let mut success = true;
    for Binary { path, folder, .. } in &binaries {
        reader.open(&path.display().to_string());
        let mut command = Command::new(path);
        command
            .arg("--test-threads=1")
            .env(LAB, &bench.lab)
            .current_dir(folder);
        let finished = stream::run(command, |line| {
            reader.line(line);
            tail.push(line);
            show(line);
        });
        success &= finished.is_ok_and(|end| end.status.success());
    }
    let reading = reader.end(success);
    let mut tally = reading.tally;
    tally.skipped = reading.ignored.iter().map(|ignored| ignored.tests).sum();
    let failures = if tally.failed > 0 {
        told(&reading, &tail)
    } else {
        String::new()
    };
    Verdict::Ran { tally, failures }
}
