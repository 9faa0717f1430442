//! CPU, memory, processes: what the scheduler granted, as Docker's limits.

use bollard::models::{HostConfig, ResourcesUlimits};
use nomad_driver_sdk::AllocatedMemoryResources;

use super::{Inputs, SpecError, text};
use crate::agent::Generation;

const MIB: i64 = 1024 * 1024;
/// The kernel's largest and smallest `cpu.shares`.
const MOST_SHARES: u64 = 262_144;
const LEAST_SHARES: i64 = 2;
const DEFAULT_CFS_PERIOD: i64 = 100_000;
const LONGEST_CFS_PERIOD: i64 = 1_000_000;

pub(super) fn apply(inputs: Inputs<'_>, host: &mut HostConfig) -> Result<(), SpecError> {
    let Inputs {
        task,
        options,
        plugin,
        agent,
        ..
    } = inputs;
    let resources = task.resources.as_ref().ok_or(SpecError::NoResources)?;
    let linux = resources.linux_resources.clone().unwrap_or_default();
    let memory = resources
        .allocated_resources
        .as_ref()
        .and_then(|resources| resources.memory)
        .unwrap_or_default();

    let (limit, reservation) = memory_limits(memory, options.memory_hard_limit)?;
    host.memory = Some(limit);
    host.memory_reservation = Some(reservation);
    // The same as memory: no swap.
    host.memory_swap = Some(limit);
    host.memory_swappiness = swappiness_knob().then_some(0);

    host.cpu_shares = Some(cpu_shares(linux.cpu_shares, agent.compute.total_mhz));
    host.cpuset_cpus = text(&linux.cpuset_cpus);
    if agent.generation == Generation::V1_6 && cgroup_v2() {
        // That agent moves cpusets below a parent of its own.
        host.cgroup_parent = cgroup_parent(&linux.cpuset_cgroup);
    }
    if options.cpu_hard_limit {
        let period = options.cpu_cfs_period.unwrap_or(DEFAULT_CFS_PERIOD);
        if !(0..=LONGEST_CFS_PERIOD).contains(&period) {
            return Err(SpecError::Option {
                option: "cpu_cfs_period",
                reason: "invalid value for cpu_cfs_period".to_owned(),
            });
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            reason = "a share of microseconds"
        )]
        let per_core = (linux.percent_ticks * period as f64) as i64;
        host.cpu_period = Some(period);
        host.cpu_quota =
            Some(per_core.saturating_mul(i64::try_from(agent.compute.cores).unwrap_or(1)));
    }
    host.pids_limit = pids(options.pids_limit, plugin.pids_limit)?;
    host.ulimits = ulimits(inputs)?;
    Ok(())
}

/// The slice that the agent made, by its bare name: with systemd the engine takes no path, and without it the name is a
/// path below the root.
pub fn cgroup_parent(cpuset_cgroup: &str) -> Option<String> {
    let below = cpuset_cgroup.strip_prefix("/sys/fs/cgroup")?;
    let (parent, _) = below.trim_matches('/').split_once('/')?;
    text(parent)
}

/// `(limit, reservation)` in bytes; a limit of 0 is none.
fn memory_limits(memory: AllocatedMemoryResources, hard_mb: i64) -> Result<(i64, i64), SpecError> {
    let bytes = |option, mb: i64| {
        mb.checked_mul(MIB).ok_or_else(|| SpecError::Option {
            option,
            reason: format!("{mb} MB are more than any machine has"),
        })
    };
    let grant = bytes("memory", memory.memory_mb)?;
    if memory.memory_max_mb == -1 {
        return Ok((0, grant));
    }
    match hard_mb.max(memory.memory_max_mb) {
        high if high <= 0 => Ok((grant, 0)),
        high if high < memory.memory_mb => Err(SpecError::Option {
            option: "memory_hard_limit",
            reason: format!("task memory requirements exceed driver hard limit of {high} MB"),
        }),
        high => Ok((bytes("memory_hard_limit", high)?, grant)),
    }
}

/// MHz are shares, except on machines with more of them than the kernel's scale has.
fn cpu_shares(mhz: i64, total_mhz: u64) -> i64 {
    if total_mhz < MOST_SHARES {
        return mhz.max(LEAST_SHARES);
    }
    let shares = i128::from(mhz)
        .saturating_mul(i128::from(MOST_SHARES))
        .checked_div(i128::from(total_mhz));
    let shares = shares.and_then(|shares| i64::try_from(shares).ok());
    shares.unwrap_or(i64::MAX).max(LEAST_SHARES)
}

fn pids(task: i64, plugin: i64) -> Result<Option<i64>, SpecError> {
    match (task, plugin) {
        (task, plugin) if plugin > 0 && task > plugin => Err(SpecError::Option {
            option: "pids_limit",
            reason: format!(
                "pids_limit cannot be greater than nomad plugin config pids_limit: {plugin}"
            ),
        }),
        (task, _) if task > 0 => Ok(Some(task)),
        (_, plugin) if plugin > 0 => Ok(Some(plugin)),
        _ => Ok(None),
    }
}

/// `N` for both limits or `soft:hard`.
fn ulimits(inputs: Inputs<'_>) -> Result<Option<Vec<ResourcesUlimits>>, SpecError> {
    let options = &inputs.options.ulimit;
    let refusal = |which: &str, name: &str, value: &str| SpecError::Option {
        option: "ulimit",
        reason: format!(
            "Malformed {which}ulimit {name}: {value:?} (a number or \"soft:hard\" is wanted)"
        ),
    };
    let mut limits = Vec::new();
    for (name, value) in options {
        let (soft, hard) = match value.split_once(':') {
            _ if value.is_empty() => return Err(refusal("", name, value)),
            Some((soft, hard)) => (soft, hard),
            None => (value.as_str(), value.as_str()),
        };
        let soft = soft.parse().map_err(|_| refusal("soft ", name, value))?;
        let hard = hard.parse().map_err(|_| refusal("hard ", name, value))?;
        limits.push(ResourcesUlimits {
            name: Some(name.clone()),
            soft: Some(soft),
            hard: Some(hard),
        });
    }
    Ok((!limits.is_empty()).then_some(limits))
}

fn cgroup_v2() -> bool {
    std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// cgroup v2 has no such knob, and neither do some kernels.
fn swappiness_knob() -> bool {
    std::path::Path::new("/sys/fs/cgroup/memory/memory.swappiness").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hard_limit_limits_and_the_grant_is_reserved() {
        let memory = |memory_mb, memory_max_mb| AllocatedMemoryResources {
            memory_mb,
            memory_max_mb,
        };
        for (grant, hard, expected) in [
            (memory(64, 0), 0, (64 * MIB, 0)),
            (memory(64, 0), 128, (128 * MIB, 64 * MIB)),
            (memory(64, 256), 128, (256 * MIB, 64 * MIB)),
            (memory(64, -1), 128, (0, 64 * MIB)),
        ] {
            assert_eq!(memory_limits(grant, hard), Ok(expected), "{grant:?} {hard}");
        }
        let refusal = memory_limits(memory(64, 0), 32).unwrap_err().to_string();
        assert!(
            refusal.contains("exceed driver hard limit of 32 MB"),
            "{refusal}"
        );
    }

    #[test]
    fn a_memory_limit_beyond_all_numbers_is_refused_and_never_none() {
        let memory = AllocatedMemoryResources {
            memory_mb: 64,
            memory_max_mb: 0,
        };
        for hard in [1 << 44, i64::MAX, i64::MAX / MIB + 1] {
            let refusal = memory_limits(memory, hard).unwrap_err().to_string();
            assert!(refusal.starts_with("memory_hard_limit"), "{refusal}");
        }
    }

    #[test]
    fn the_cgroup_parent_is_a_bare_slice() {
        for (cgroup, expected) in [
            (
                "/sys/fs/cgroup/nomad.slice/a1.web.scope",
                Some("nomad.slice"),
            ),
            (
                "/sys/fs/cgroup/nomad.slice/share.slice/a1.web.scope",
                Some("nomad.slice"),
            ),
            ("/sys/fs/cgroup/a1.web.scope", None),
            ("", None),
        ] {
            assert_eq!(cgroup_parent(cgroup).as_deref(), expected, "{cgroup}");
        }
    }

    #[test]
    fn shares_are_mhz_until_the_machine_is_too_big_for_that() {
        for (total, mhz, expected) in [
            (12_000, 1000, 1000),
            (262_145, 262_144, 262_143),
            (262_145, 2, 2),
            (262_145, 1, 2),
            (524_288, 1000, 500),
            (524_288, 262_144, 131_072),
        ] {
            assert_eq!(cpu_shares(mhz, total), expected, "{mhz} of {total}");
        }
    }

    #[test]
    fn a_task_may_lower_the_process_limit_but_not_raise_it() {
        assert_eq!(pids(10, 100), Ok(Some(10)));
        assert_eq!(pids(0, 100), Ok(Some(100)));
        assert_eq!(pids(0, 0), Ok(None));
        assert!(pids(101, 100).is_err());
    }
}
