//! What an engine, or the kernel beside it, has counted of one container.

use std::time::{Duration, SystemTime};

use nomad_driver_sdk::value::MemoryStats;

/// Counters at one moment: CPU in nanoseconds, memory in bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub at: SystemTime,
    pub cpu_total: u64,
    pub cpu_kernel: u64,
    pub cpu_user: u64,
    /// All of the machine's, idle time included.
    pub system_total: u64,
    pub throttled_periods: u64,
    pub throttled: Duration,
    pub memory: MemoryStats,
}
