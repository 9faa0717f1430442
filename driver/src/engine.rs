//! The port to the container engine: the few calls this driver needs, in its own words.
//!
//! [`docker`] is the real one. Every call is bounded in time, so that an engine that hangs can't hang the driver.

mod address;
mod command;
pub mod docker;
mod log_limits;
pub mod output;
mod sample;

use std::collections::HashMap;
use std::fmt::{self, Display};
use std::future::Future;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use bollard::models::ContainerCreateBody;
use tokio::sync::mpsc;

pub use address::{Address, TlsFiles, TlsIdentity};
pub use command::{Command, CommandId, CommandIo, CommandState};
pub use log_limits::LogLimits;
pub use output::{Chunk, History, LogEntry, Output, Source};
pub use sample::Sample;

/// An engine's name for a container: 64 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerId(pub String);

/// Why the engine did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("no such container or image: {0}")]
    NotFound(String),
    /// The name is taken, or the container is not in the state for this.
    #[error("conflict: {0}")]
    Conflict(String),
    /// The engine understood and said no.
    #[error("{0}")]
    Refusal(String),
    #[error("the engine cannot be reached: {0}")]
    Unreachable(String),
    #[error("the engine did not answer {operation} within {} s", after.as_secs())]
    Timeout {
        operation: &'static str,
        after: Duration,
    },
    #[error("endpoint {endpoint:?}: {reason}")]
    Endpoint { endpoint: String, reason: String },
}

/// The engine itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EngineFacts {
    pub version: String,
    pub api_version: ApiVersion,
    pub os_type: String,
    pub runtimes: Vec<String>,
    pub bridge_ip: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion {
    pub major: u32,
    pub minor: u32,
}

/// What the engine knows of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    pub id: ContainerId,
    pub name: String,
    pub labels: HashMap<String, String>,
    pub image_id: String,
    pub tty: bool,
    pub state: ContainerState,
    pub started_at: Option<SystemTime>,
    pub finished_at: Option<SystemTime>,
    /// The container's init process in the engine's pid namespace, while it runs.
    pub pid: Option<i32>,
    pub networks: Vec<Network>,
    /// `None`: its stored log is never cut.
    pub log_limits: Option<LogLimits>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerState {
    Created,
    Running,
    Paused,
    Exited {
        code: i64,
        oom_killed: bool,
        error: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    pub name: String,
    pub address: Option<IpAddr>,
    pub address6: Option<IpAddr>,
}

/// A running container in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListEntry {
    pub id: ContainerId,
    pub created: SystemTime,
    pub labels: HashMap<String, String>,
}

/// A part of an image that is being fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    pub id: String,
    pub state: LayerState,
}

/// How far a layer is; sizes in bytes, 0 where the engine does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerState {
    Waiting,
    Loading {
        current: u64,
        total: u64,
    },
    /// Being checked or unpacked.
    Loaded {
        total: u64,
    },
    Complete {
        total: u64,
    },
}

/// Name and password for a registry.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    pub username: String,
    pub password: String,
    pub server: String,
}

/// The engine as the driver sees it.
pub trait ContainerEngine: Send + Sync + 'static {
    fn facts(&self) -> impl Future<Output = Result<EngineFacts, EngineError>> + Send;

    /// The id of a local image.
    fn find_image(
        &self,
        reference: &str,
    ) -> impl Future<Output = Result<String, EngineError>> + Send;

    /// Fetches an image. Each line of the engine's goes to `lines`, with a layer if it speaks of one (a full channel drops
    /// it). Not bounded: the caller is. Dropping the future makes the engine give the pull up.
    fn pull(
        &self,
        reference: &str,
        credentials: Option<Credentials>,
        lines: mpsc::Sender<Option<Layer>>,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;

    fn create(
        &self,
        name: &str,
        body: ContainerCreateBody,
    ) -> impl Future<Output = Result<ContainerId, EngineError>> + Send;

    fn start(&self, id: &ContainerId) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// By id or by name.
    fn inspect(&self, id: &str) -> impl Future<Output = Result<Container, EngineError>> + Send;

    /// The exit code, once the container is not running (at once if it is not). Not bounded.
    fn wait(&self, id: &ContainerId) -> impl Future<Output = Result<i64, EngineError>> + Send;

    /// Asks the container to stop its own way, kills it after `grace`. A container that does not run is a success.
    fn stop(
        &self,
        id: &ContainerId,
        grace: Duration,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;

    fn kill(
        &self,
        id: &ContainerId,
        signal: &str,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Kills if need be, and removes the container with its anonymous volumes.
    fn remove(&self, id: &ContainerId) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Output from now on, to the end. Opened before `start` it misses nothing.
    fn attach(&self, id: &ContainerId) -> impl Future<Output = Result<Output, EngineError>> + Send;

    /// Stored output from `since` (whole seconds since 1970; 0: all of it); with `follow` also what comes, to the end.
    fn history(
        &self,
        id: &ContainerId,
        since: i32,
        follow: bool,
    ) -> impl Future<Output = Result<History, EngineError>> + Send;

    /// Runs a command inside a running container.
    fn exec(
        &self,
        id: &ContainerId,
        command: Command,
    ) -> impl Future<Output = Result<CommandIo, EngineError>> + Send;

    fn exec_state(
        &self,
        id: &CommandId,
    ) -> impl Future<Output = Result<CommandState, EngineError>> + Send;

    /// The size of the command's terminal.
    fn resize(
        &self,
        id: &CommandId,
        height: u16,
        width: u16,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;

    fn sample(&self, id: &ContainerId) -> impl Future<Output = Result<Sample, EngineError>> + Send;

    /// Running containers that carry `label=value`.
    fn list_running(
        &self,
        label: &str,
        value: &str,
    ) -> impl Future<Output = Result<Vec<ListEntry>, EngineError>> + Send;
}

impl ContainerId {
    /// As `docker ps` shows it.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Container {
    /// A container of which nothing is known but its id.
    pub fn of_id(id: ContainerId) -> Self {
        Self {
            id,
            name: String::new(),
            labels: HashMap::new(),
            image_id: String::new(),
            tty: false,
            state: ContainerState::Created,
            started_at: None,
            finished_at: None,
            pid: None,
            networks: Vec::new(),
            log_limits: None,
        }
    }

    pub fn is_alive(&self) -> bool {
        matches!(self.state, ContainerState::Running | ContainerState::Paused)
    }
}

impl ApiVersion {
    /// `1.41`; anything else is nothing.
    pub fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
        })
    }
}

impl Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}
