//! Rights, cgroups, memory and disk.

use std::path::Path;

use nix::sys::statvfs::statvfs;

use super::Intent;
use super::finding::Finding;
use crate::agents::{self, Agent};
use crate::privilege::{Standing, standing};

const MIB: u64 = 1 << 20;

/// Two agents, an engine, a guest and containers fit into this.
const MEMORY: u64 = 1500 * MIB;
/// Logs and images; and, where the agents are compiled first, sources, objects and two links side by side.
const DISK: u64 = 1024 * MIB;
const DISK_TO_BUILD: u64 = 6 * 1024 * MIB;
const MEMORY_TO_BUILD: u64 = 3 * 1024 * MIB;

/// Whether the lab may do what it does.
pub(super) fn rights() -> Vec<Finding> {
    const NAME: &str = "rights";
    let finding = match standing() {
        Standing::Root => {
            let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
            let lacks = lacking(&status);
            if lacks.is_empty() {
                Finding::ok(NAME, "root")
            } else {
                let finding = format!("root without {}", lacks.join(" and "));
                Finding::missing(NAME, finding, "in a container: run it with --privileged")
            }
        }
        Standing::Sudo => Finding::ok(NAME, "not root; sudo will be asked"),
        Standing::Plain => Finding::missing(
            NAME,
            "not root, and no sudo",
            "install sudo, or run this as root",
        ),
    };
    vec![finding]
}

/// Capabilities that the process lacks, from the text of its `/proc/…/status`.
fn lacking(status: &str) -> Vec<&'static str> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let Some(mask) = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()) else {
        return Vec::new();
    };
    // Numbers from include/uapi/linux/capability.h.
    let needed = [(12, "CAP_NET_ADMIN"), (21, "CAP_SYS_ADMIN")];
    needed
        .into_iter()
        .filter(|(bit, _)| mask & (1 << bit) == 0)
        .map(|(_, name)| name)
        .collect()
}

pub(super) fn resources(intent: &Intent<'_>) -> Vec<Finding> {
    let builds = Agent::ALL
        .iter()
        .any(|agent| agents::at_hand(*agent, intent.person, &intent.paths.cache).is_none());
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    vec![
        cgroups(Path::new("/sys/fs/cgroup/cgroup.controllers").exists()),
        memory(
            available(&info),
            if builds { MEMORY_TO_BUILD } else { MEMORY },
        ),
        disk(
            &intent.paths.cache,
            free_at(&intent.paths.cache),
            if builds { DISK_TO_BUILD } else { DISK },
        ),
    ]
}

fn cgroups(unified: bool) -> Finding {
    Finding::ok("cgroup", if unified { "version 2" } else { "version 1" })
}

fn memory(free: Option<u64>, wanted: u64) -> Finding {
    let Some(free) = free else {
        return Finding::warn(
            "memory",
            "not known",
            format!("{} MiB should be free", wanted / MIB),
        );
    };
    let finding = format!("{} MiB free", free / MIB);
    if free >= wanted {
        Finding::ok("memory", finding)
    } else {
        Finding::warn(
            "memory",
            finding,
            format!("{} MiB should be: end something", wanted / MIB),
        )
    }
}

fn disk(folder: &Path, free: Option<u64>, wanted: u64) -> Finding {
    let Some(free) = free else {
        return Finding::warn(
            "disk",
            "not known",
            format!("{} MiB should be free", wanted / MIB),
        );
    };
    let finding = format!("{} MiB free for {}", free / MIB, folder.display());
    if free >= wanted {
        Finding::ok("disk", finding)
    } else {
        Finding::missing(
            "disk",
            finding,
            format!("{} MiB are needed; NOMAD_IPVS_CACHE moves it", wanted / MIB),
        )
    }
}

/// `MemAvailable` in the text of `/proc/meminfo`, in bytes.
fn available(info: &str) -> Option<u64> {
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim()
        .trim_end_matches("kB")
        .trim()
        .parse::<u64>()
        .ok()
        .map(|kib| kib.saturating_mul(1024))
}

/// Free bytes where a folder is, or would be.
fn free_at(folder: &Path) -> Option<u64> {
    let there = folder.ancestors().find(|path| path.exists())?;
    let data = statvfs(there).ok()?;
    Some(data.blocks_available().saturating_mul(data.fragment_size()))
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    #[test]
    fn a_root_without_its_capabilities_is_told_which() {
        assert_eq!(
            lacking("Name:\tx\nCapEff:\t000001ffffffffff\n"),
            Vec::<&str>::new()
        );
        assert_eq!(
            lacking("CapEff:\t00000000a80425fb\n"),
            ["CAP_NET_ADMIN", "CAP_SYS_ADMIN"]
        );
    }

    #[test]
    fn little_memory_is_a_warning_and_little_disk_is_a_problem() {
        let info = "MemTotal:  2000000 kB\nMemAvailable:    1024000 kB\n";
        assert_eq!(available(info), Some(1000 * MIB));
        assert_eq!(memory(available(info), MEMORY).state, State::Warn);
        assert_eq!(memory(available(info), 999 * MIB).state, State::Ok);
        assert_eq!(
            memory(available("MemTotal: 1 kB"), MEMORY).state,
            State::Warn
        );
        assert_eq!(
            disk(Path::new("/x"), Some(DISK - 1), DISK).state,
            State::Missing
        );
        assert_eq!(
            disk(Path::new("/x"), Some(DISK), DISK).finding,
            "1024 MiB free for /x"
        );
    }

    #[test]
    fn a_folder_that_is_not_there_yet_has_the_room_of_the_one_above() {
        assert!(free_at(Path::new("/tmp/no/such/folder/yet")).is_some());
    }
}
