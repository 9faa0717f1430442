//! A container's counters from its cgroup's files, where the engine's machine is ours: the engine is not asked.
//!
//! ```text
//!  /proc/PID/cgroup ─▶ the container's cgroup in each hierarchy ─▶ files, held open ─pread─▶ Sample
//! ```
//!
//! The numbers are those that the engine gives, from the same files. Only the machine's own time is taken from the clock.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use nomad_driver_sdk::value::MemoryStats;

use crate::engine::ContainerId;
use crate::engine::Sample;

/// Longer than any of these files; what is beyond is not read.
const FILE_SIZE_MAX: usize = 16 * 1024;
/// cgroup v1 counts user and system time in hundredths of a second.
const TICK_NANOSECONDS: u64 = 10_000_000;
const MICROSECOND_NANOSECONDS: u64 = 1000;

/// The files of one container.
#[derive(Debug)]
pub struct Cgroup {
    files: CounterFiles,
}

#[derive(Debug)]
enum CounterFiles {
    V1 {
        usage: File,
        modes: File,
        throttling: File,
        memory: File,
        memory_usage: File,
        memory_most: File,
    },
    V2 {
        cpu: File,
        memory: File,
        memory_usage: File,
        /// Absent where swap is not counted.
        swap: Option<File>,
    },
}

/// The machine's time: when it began, and on how many processors it passes.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
    processors: u32,
}

/// Where a hierarchy is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct HierarchyMount {
    point: PathBuf,
    /// The part of the hierarchy that is mounted there.
    root: String,
    kind: Hierarchy,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hierarchy {
    V1 { controllers: String },
    V2,
}

impl Cgroup {
    /// The cgroup of a container, found by its init process. An error: it is not on this machine, or can't be seen here.
    pub fn open(pid: i32, container: &ContainerId) -> io::Result<Self> {
        let mounts = mounts(&fs::read_to_string("/proc/self/mountinfo")?);
        let lines = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        Self::find(&mounts, &lines, container)
    }

    fn find(mounts: &[HierarchyMount], lines: &str, container: &ContainerId) -> io::Result<Self> {
        let folder = |controller| folder(mounts, lines, controller, container);
        let file = |folder: &Path, name: &str| File::open(folder.join(name));
        let files = if let Some(memory) = folder("memory") {
            let absence =
                || io::Error::other("the container has no cgroup of its own for processors");
            let (cpu, account) = (
                folder("cpu").ok_or_else(absence)?,
                folder("cpuacct").ok_or_else(absence)?,
            );
            CounterFiles::V1 {
                usage: file(&account, "cpuacct.usage")?,
                modes: file(&account, "cpuacct.stat")?,
                throttling: file(&cpu, "cpu.stat")?,
                memory_usage: file(&memory, "memory.usage_in_bytes")?,
                memory_most: file(&memory, "memory.max_usage_in_bytes")?,
                memory: file(&memory, "memory.stat")?,
            }
        } else {
            let container_folder = folder("")
                .ok_or_else(|| io::Error::other("the process is not in the container's cgroup"))?;
            CounterFiles::V2 {
                cpu: file(&container_folder, "cpu.stat")?,
                memory: file(&container_folder, "memory.stat")?,
                memory_usage: file(&container_folder, "memory.current")?,
                swap: file(&container_folder, "memory.swap.current").ok(),
            }
        };
        Ok(Self { files })
    }

    /// The counters of this moment. An error: the container has gone.
    pub fn sample(&self, clock: Clock) -> io::Result<Sample> {
        let mut buffer = [0; FILE_SIZE_MAX];
        match &self.files {
            CounterFiles::V1 {
                usage,
                modes,
                throttling,
                memory,
                memory_usage,
                memory_most,
            } => {
                let cpu_total = number(read(usage, &mut buffer)?);
                let system_total = clock.system_total();
                let text = read(modes, &mut buffer)?;
                let mode = |key| {
                    value(text, key)
                        .unwrap_or_default()
                        .saturating_mul(TICK_NANOSECONDS)
                };
                let (cpu_user, cpu_kernel) = (mode("user"), mode("system"));
                let text = read(throttling, &mut buffer)?;
                let throttled_periods = value(text, "nr_throttled").unwrap_or_default();
                let throttled = value(text, "throttled_time").unwrap_or_default();
                let text = read(memory, &mut buffer)?;
                let (rss, cache, swap) = (
                    value(text, "rss"),
                    value(text, "cache"),
                    value(text, "swap"),
                );
                Ok(Sample {
                    at: SystemTime::now(),
                    cpu_total: cpu_total.unwrap_or_default(),
                    cpu_kernel,
                    cpu_user,
                    system_total,
                    throttled_periods,
                    throttled: Duration::from_nanos(throttled),
                    memory: MemoryStats {
                        rss,
                        cache,
                        swap,
                        usage: number(read(memory_usage, &mut buffer)?),
                        max_usage: number(read(memory_most, &mut buffer)?),
                    },
                })
            }
            CounterFiles::V2 {
                cpu,
                memory,
                memory_usage,
                swap,
            } => {
                let text = read(cpu, &mut buffer)?;
                let system_total = clock.system_total();
                let time = |key| {
                    value(text, key)
                        .unwrap_or_default()
                        .saturating_mul(MICROSECOND_NANOSECONDS)
                };
                let (cpu_total, cpu_user, cpu_kernel) =
                    (time("usage_usec"), time("user_usec"), time("system_usec"));
                let throttled_periods = value(text, "nr_throttled").unwrap_or_default();
                let throttled = Duration::from_nanos(time("throttled_usec"));
                let text = read(memory, &mut buffer)?;
                let (rss, cache) = (value(text, "anon"), value(text, "file"));
                let usage = number(read(memory_usage, &mut buffer)?);
                let swap = match swap {
                    Some(swap) => number(read(swap, &mut buffer)?),
                    None => None,
                };
                Ok(Sample {
                    at: SystemTime::now(),
                    cpu_total,
                    cpu_kernel,
                    cpu_user,
                    system_total,
                    throttled_periods,
                    throttled,
                    memory: MemoryStats {
                        rss,
                        cache,
                        swap,
                        usage,
                        max_usage: None,
                    },
                })
            }
        }
    }
}

impl Clock {
    /// Starts now.
    pub fn start() -> Self {
        let online = fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
        Self {
            origin: Instant::now(),
            processors: processors(online.trim()).max(1),
        }
    }

    /// Nanoseconds of all processors together.
    fn system_total(self) -> u64 {
        let nanos = u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        nanos.saturating_mul(u64::from(self.processors))
    }
}

/// `0-3,6`: five.
fn processors(list: &str) -> u32 {
    let range = |range: &str| -> Option<u32> {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        last.checked_sub(first)?.checked_add(1)
    };
    let counts = list.split(',').filter_map(range);
    counts.fold(0, u32::saturating_add)
}

/// Where `controller`'s cgroup of the container is; an empty name means version 2.
fn folder(
    mounts: &[HierarchyMount],
    lines: &str,
    controller: &str,
    container: &ContainerId,
) -> Option<PathBuf> {
    let names = |list: &str| list.split(',').any(|name| name == controller);
    let path = lines.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        names(controllers).then_some(path)
    })?;
    // Its init may have moved into a cgroup below: the container's own is the one with its name.
    let start = path.find(&container.0)?;
    let end = path[start..]
        .find('/')
        .map_or(path.len(), |slash| start.saturating_add(slash));
    let mount = mounts.iter().find(|mount| match &mount.kind {
        Hierarchy::V1 { controllers } => !controller.is_empty() && names(controllers),
        Hierarchy::V2 => controller.is_empty(),
    })?;
    let below = Path::new(&path[..end]).strip_prefix(&mount.root).ok()?;
    let plain = below
        .components()
        .all(|part| matches!(part, std::path::Component::Normal(_)));
    plain.then(|| mount.point.join(below))
}

/// The cgroup hierarchies of `/proc/self/mountinfo`.
fn mounts(text: &str) -> Vec<HierarchyMount> {
    let mount = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let (root, point) = (left.next()?.to_owned(), left.next()?.into());
        let mut right = right.split(' ');
        let kind = match (right.next()?, right.nth(1)?) {
            ("cgroup", options) => Hierarchy::V1 {
                controllers: options.to_owned(),
            },
            ("cgroup2", _) => Hierarchy::V2,
            _ => return None,
        };
        Some(HierarchyMount { point, root, kind })
    };
    text.lines().filter_map(mount).collect()
}

fn read<'a>(file: &File, buffer: &'a mut [u8]) -> io::Result<&'a str> {
    let length = file.read_at(buffer, 0)?;
    let bytes = buffer.get(..length).unwrap_or_default();
    std::str::from_utf8(bytes).map_err(io::Error::other)
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// The value of `key` in lines of `key value`.
fn value(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok())?
    })
}

#[cfg(test)]
mod tests;
