//! End-to-end stories: built as the person, told with the lab's rights. Two processes tell them beside each other, each
//! with a lab of its own and one story at a time: most of a story is waiting.

use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::thread;

use super::Bench;
use super::binaries::{self, Binary};
use super::libtest::Reader;
use super::tally::{Tally, Verdict};
use super::unit::failure_text;
use crate::host::paths::workspace;
use crate::host::stream::{self, Tail};

/// Tells the stories which lab to use.
const LAB: &str = "NOMAD_IPVS_LAB";
/// And which profile.
const PROFILE: &str = "NOMAD_IPVS_STORIES";

/// The folder of their package.
const PACKAGE: &str = "tests";

/// Modules of the second process: they take about as long as all others together.
const SECOND: [&str; 9] = [
    "datagrams::",
    "host_ports::",
    "hostile_logs::",
    "inside::",
    "interrupted::",
    "ipv6::",
    "lives_on::",
    "own_kernel::",
    "restarts::",
];
/// Takes the lab down, so each process ends with it.
const END: &str = "zz_down::";

/// One process that tells stories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Teller {
    First,
    Second,
}

impl Teller {
    const ALL: [Self; 2] = [Self::First, Self::Second];

    fn profile(self) -> &'static str {
        match self {
            Self::First => "test",
            Self::Second => "test2",
        }
    }

    /// Which stories, as a test binary takes it.
    fn arguments(self) -> Vec<&'static str> {
        let mut arguments = vec!["--test-threads=1"];
        match self {
            Self::First => arguments.extend(SECOND.iter().flat_map(|module| ["--skip", module])),
            Self::Second => arguments.extend(SECOND.iter().chain([&END])),
        }
        arguments
    }
}

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
        Ok(all) => all,
        Err(error) => return Verdict::broken(&error),
    };
    let (mut tally, mut failures) = (Tally::default(), String::new());
    let folder = workspace().join(PACKAGE);
    for binary in binaries.iter().filter(|binary| binary.folder == folder) {
        for (counts, failed) in tell(binary, &bench.lab, show) {
            tally += counts;
            failures += &failed;
        }
    }
    Verdict::Ran { tally, failures }
}

/// All stories of a binary; what came of each process, and what failed there.
fn tell(binary: &Binary, lab: &Path, show: &mut dyn FnMut(&str)) -> [(Tally, String); 2] {
    let (sender, lines) = mpsc::channel();
    thread::scope(|scope| {
        let tellers = Teller::ALL.map(|teller| {
            let sender = sender.clone();
            scope.spawn(move || {
                let mut command = Command::new(&binary.path);
                command
                    .args(teller.arguments())
                    .env(LAB, lab)
                    .env(PROFILE, teller.profile())
                    .current_dir(&binary.folder);
                let mut reader = Reader::default();
                reader.open(&binary.path.display().to_string());
                let mut tail = Tail::default();
                let finished = stream::run(command, |line| {
                    reader.line(line);
                    tail.push(line);
                    // Whoever shows lines listens until all have ended.
                    let _ = sender.send(format!("{:5} {line}", teller.profile()));
                });
                let reading = reader.end(finished.is_ok_and(|end| end.status.success()));
                let mut tally = reading.tally;
                tally.skipped = reading.ignored.iter().map(|ignored| ignored.tests).sum();
                let failures = match tally.failed {
                    0 => String::new(),
                    _ => failure_text(&reading, &tail),
                };
                (tally, failures)
            })
        });
        drop(sender);
        for line in lines {
            show(&line);
        }
        tellers.map(|teller| {
            let broken = Tally {
                failed: 1,
                ..Tally::default()
            };
            let words = "  what reads the stories' output broke down\n";
            teller.join().unwrap_or_else(|_| (broken, words.to_owned()))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_second_process_tells_the_first_leaves_out() {
        let (first, second) = (Teller::First.arguments(), Teller::Second.arguments());
        for module in SECOND {
            let skipped = first.windows(2).any(|pair| pair == ["--skip", module]);
            assert!(skipped && second.contains(&module), "{module}");
        }
        assert!(second.contains(&END) && !first.contains(&END));
    }

    #[test]
    fn each_module_of_the_second_process_is_there() {
        for module in SECOND.iter().chain([&END]) {
            let file = module.trim_end_matches(':');
            let path = workspace().join(format!("{PACKAGE}/e2e/{file}.rs"));
            assert!(path.is_file(), "{}", path.display());
        }
    }
}
