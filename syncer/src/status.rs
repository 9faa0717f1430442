//! What the syncer shows: one value, served as JSON, as metrics and by the `status` command.
//!
//! `view` builds it from what a pass left behind; it explains each real server by the rule that decided about it.

mod doubt;
pub(crate) mod health;
mod metrics;
mod options;
mod text;
mod view;

use ipvs::Scheduler;
use serde::{Deserialize, Serialize};

pub use health::{Health, PASS_OVERDUE, SOURCE_FAILING_LIMIT, SOURCE_SILENCE_LIMIT, SourceHealth};
pub use metrics::metrics;
pub use syncer_core::pass::AckLatency;
pub use text::text;
pub use view::services;

/// The status of a process.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub roles: Vec<String>,
    /// The data plane does what the sources say, as far as anybody can know.
    pub ready: bool,
    /// Ready, and nothing needs a look.
    #[serde(default)]
    pub healthy: bool,
    /// Why it is not ready, or not well.
    #[serde(default)]
    pub reasons: Vec<String>,
    /// What the config allows and an operator should know of.
    #[serde(default)]
    pub warnings: Vec<String>,
    pub uptime_ms: u64,
    /// The table comes from the disk; the sources have not been read yet.
    pub stale: bool,
    pub pass: Option<Pass>,
    pub sources: Vec<Source>,
    pub services: Vec<Service>,
    pub rejected: Vec<Rejection>,
    pub registrations: Vec<RegistrationView>,
    /// VIPs whose packets this node gives to its own instances.
    #[serde(default)]
    pub takes: Vec<TakeView>,
    /// Host ports that lead to containers without the engine.
    #[serde(default)]
    pub host_ports: Vec<PortView>,
    pub held: Option<Held>,
    pub errors: Vec<Failure>,
    pub kernel_ack: AckLatency,
    /// Services that are followed and have not been read.
    #[serde(default)]
    pub services_unread: usize,
    /// What differs in the data plane and has not been put right.
    #[serde(default)]
    pub drift: Vec<String>,
}

/// The last pass.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pass {
    pub number: u64,
    /// What set it off: startup, consul, nomad, driver, warmed, timer, audit, config.
    pub reason: String,
    pub age_ms: u64,
    pub duration_us: u64,
    /// The longest of all passes of this process, and all of them together.
    #[serde(default)]
    pub longest_us: u64,
    #[serde(default)]
    pub total_us: u64,
    pub steps: usize,
    pub failed: usize,
}

/// One source of truth.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Source {
    pub name: String,
    pub address: String,
    pub synced: bool,
    pub index: u64,
    pub age_ms: Option<u64>,
    pub error: Option<String>,
}

/// One virtual service.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Service {
    pub name: String,
    pub vip: String,
    pub protocol: String,
    pub scheduler: Scheduler,
    pub forward: String,
    pub snat: bool,
    /// Whatever else is not as by default, in words.
    #[serde(default)]
    pub options: Vec<String>,
    pub declared: String,
    pub real_servers: Vec<RealServerView>,
}

/// One real server, or an endpoint that is none yet.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RealServerView {
    pub address: String,
    pub alloc: Option<String>,
    pub job: Option<String>,
    pub group: Option<String>,
    pub task: Option<String>,
    pub node: Option<String>,
    pub nomad: Option<String>,
    pub consul: String,
    pub weight: Option<u32>,
    pub active: Option<u32>,
    pub inactive: Option<u32>,
    pub state: String,
    pub why: String,
    pub deadline_ms: Option<u64>,
}

/// A service that gets no virtual service.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rejection {
    pub service: String,
    pub reason: String,
}

/// A registration of ours in Consul.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RegistrationView {
    pub id: String,
    pub name: String,
    pub address: String,
    pub alloc: String,
    /// registered, failed, or held: not wanted, but Nomad does not say that it is over.
    pub state: String,
    pub error: Option<String>,
}

/// A VIP whose packets this node gives to its own instances.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TakeView {
    pub vip: String,
    /// Empty: nothing new is taken.
    pub instances: Vec<PlaceView>,
}

/// A host port, and the container's own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PortView {
    pub host: String,
    pub container: String,
}

/// Where packets go, and what share of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PlaceView {
    pub address: String,
    pub share: u32,
}

/// What the shrink guard holds back.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Held {
    pub since_ms: u64,
    pub real_servers: usize,
    pub reason: String,
}

/// Something that went wrong.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failure {
    pub age_ms: u64,
    pub what: String,
}
