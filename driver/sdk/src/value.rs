//! What a driver answers, in types that can't be built incomplete.
//!
//! The wire's messages make every sub-message optional, and the agent dereferences most of them without looking. These
//! have no holes; the conversions below are the only way onto the wire.

mod wire;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use nomad_ipvs_proto::driver::TaskHandle;

/// What this driver can do; read once per task and by the network hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    pub send_signals: bool,
    pub exec: bool,
    pub isolation: FsIsolation,
    pub network_modes: Vec<NetworkMode>,
    /// The driver's `create_network` makes the namespace of bridge and CNI groups. One driver of a group may say so.
    pub must_create_network: bool,
    /// No logmon: the driver writes the log files itself or nobody does.
    pub disable_log_collection: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FsIsolation {
    None,
    Chroot,
    Image,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkMode {
    Host,
    Group,
    Task,
    None,
}

/// The network namespace of an allocation: what CreateNetwork answers, and DestroyNetwork brings again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkIsolationSpec {
    pub mode: NetworkMode,
    /// The namespace's file on the host.
    pub path: String,
    /// The driver's own, but for two that the agent reads: `docker_sandbox_container_id` and `docker_sandbox_hostname`.
    pub labels: HashMap<String, String>,
    /// The agent fills it in once it has configured the namespace.
    pub hosts_config: Option<HostsConfig>,
}

/// The entry of the allocation itself in its hosts file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostsConfig {
    pub hostname: String,
    pub address: String,
}

/// The agent configures a new namespace (CNI) and only checks one that was there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllocNetwork {
    New(NetworkIsolationSpec),
    Existing(NetworkIsolationSpec),
}

/// One look at whether tasks can run here.
#[derive(Debug, Clone, PartialEq)]
pub struct Fingerprint {
    pub attributes: BTreeMap<String, Attribute>,
    pub health: Health,
    /// A sentence for `nomad node status`.
    pub description: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Not here at all.
    Undetected,
    /// Here, but no tasks now.
    Unhealthy,
    Healthy,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Attribute {
    Bool(bool),
    Int(i64),
    Text(String),
}

/// The outcome of a start that succeeded.
#[derive(Debug, Clone)]
pub struct TaskStart {
    /// Comes back in RecoverTask.
    pub handle: TaskHandle,
    pub network: Option<DriverNetwork>,
}

/// The task's own address, when it is not reached at the host's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DriverNetwork {
    pub port_map: HashMap<String, i32>,
    pub address: String,
    /// Services with `address_mode = "auto"` use this address.
    pub auto_advertise: bool,
}

/// How a task ended. Success is code 0, signal 0 and no error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exit {
    pub code: i32,
    pub signal: i32,
    pub oom_killed: bool,
    /// A sentence for the task's event; empty on success.
    pub error: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct TaskStatus {
    pub id: String,
    pub name: String,
    pub state: TaskState,
    pub started_at: Option<SystemTime>,
    pub completed_at: Option<SystemTime>,
    pub exit: Exit,
    pub attributes: HashMap<String, String>,
    pub network: Option<DriverNetwork>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskState {
    Unknown,
    Running,
    Exited,
}

/// A line under the task's events. The agent keeps the last ten: be sparse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskEvent {
    pub task_id: String,
    pub alloc_id: String,
    pub task_name: String,
    pub at: SystemTime,
    pub message: String,
    pub annotations: HashMap<String, String>,
}

/// One sample of what a task uses. `None` is not measured.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskStats {
    pub task_id: String,
    pub at: SystemTime,
    pub cpu: CpuStats,
    pub memory: MemoryStats,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct CpuStats {
    /// Percent of one core.
    pub percent: Option<f64>,
    pub system_percent: Option<f64>,
    pub user_percent: Option<f64>,
    /// MHz.
    pub ticks: Option<f64>,
    pub throttled_periods: Option<u64>,
    pub throttled: Option<Duration>,
}

/// Bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryStats {
    pub rss: Option<u64>,
    pub cache: Option<u64>,
    pub swap: Option<u64>,
    pub usage: Option<u64>,
    pub max_usage: Option<u64>,
}

/// What a command inside a task wrote and how it ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecResult {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub exit: Exit,
}

/// A command to run inside a task with a person or a pipe at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecRequest {
    pub task_id: String,
    pub command: Vec<String>,
    pub tty: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecInput {
    Stdin(Bytes),
    /// No more input will come.
    Close,
    Resize {
        height: u16,
        width: u16,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecOutput {
    Stdout(Bytes),
    Stderr(Bytes),
}
