//! Rights, cgroups, memory and disk.

use std::path::Path;

use nix::sys::statvfs::statvfs;
use procfs::process::Process;
use procfs::{Current, Meminfo};

use super::Intent;
use super::finding::Finding;
use crate::host::privilege::{Standing, standing};
use crate::supply::agents::{self, Agent};

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
            let status = Process::myself().and_then(|process| process.status());
            // A kernel that does not say is taken at root's word.
            let lacks = lacking(status.map_or(u64::MAX, |status| status.capeff));
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

/// Capabilities that are not among a process's effective ones.
fn lacking(effective: u64) -> Vec<&'static str> {
    // Numbers from include/uapi/linux/capability.h.
    let needed = [(12, "CAP_NET_ADMIN"), (21, "CAP_SYS_ADMIN")];
    needed
        .into_iter()
        .filter(|(bit, _)| effective & (1 << bit) == 0)
        .map(|(_, name)| name)
        .collect()
}

pub(super) fn resources(intent: &Intent<'_>) -> Vec<Finding> {
    let builds = Agent::ALL
        .iter()
        .any(|agent| agents::at_hand(*agent, intent.person, &intent.paths.cache).is_none());
    let available = Meminfo::current().ok().and_then(|info| info.mem_available);
    vec![
        cgroups(Path::new("/sys/fs/cgroup/cgroup.controllers").exists()),
        memory(available, if builds { MEMORY_TO_BUILD } else { MEMORY }),
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

/// Free bytes where a folder is, or would be.
fn free_at(folder: &Path) -> Option<u64> {
    let existing = folder.ancestors().find(|path| path.exists())?;
    let data = statvfs(existing).ok()?;
    Some(data.blocks_available().saturating_mul(data.fragment_size()))
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    #[test]
    fn a_root_without_its_capabilities_is_told_which() {
        assert_eq!(lacking(0x0000_01ff_ffff_ffff), Vec::<&str>::new());
        assert_eq!(lacking(0xa804_25fb), ["CAP_NET_ADMIN", "CAP_SYS_ADMIN"]);
    }

    #[test]
    fn little_memory_is_a_warning_and_little_disk_is_a_problem() {
        assert_eq!(memory(Some(1000 * MIB), MEMORY).state, State::Warn);
        assert_eq!(memory(Some(1000 * MIB), 999 * MIB).state, State::Ok);
        assert_eq!(memory(None, MEMORY).state, State::Warn);
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
