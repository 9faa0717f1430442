//! The plugin's own configuration: the agent's `plugin "…" { config { … } }` block, decoded and checked.
//!
//! All options of the agent's built-in driver are taken, so that its block can stay as it is. Those that have no effect
//! here are named in one warning ([`PluginConfig::without_effect`]), or refused where leaving them out would make
//! something less secure; nothing is ignored silently.

mod address;
pub mod options;
mod raw;

use std::path::PathBuf;
use std::time::Duration;

use nomad_driver_sdk::cty::{self, CtyError};
use nomad_driver_sdk::hclspec::Spec;
use nomad_driver_sdk::options::Options;

use crate::engine::Address;
use address::Environment;

pub use address::TlsConfigError;
pub use raw::{AllowedModes, Logging};

const DURATION_MIN: Duration = Duration::from_mins(1);
/// Any point in time plus this is one still.
const DURATION_MAX: Duration = Duration::from_hours(24 * 365 * 10);

/// Checked, in the types the driver works with.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginConfig {
    pub engine: Address,
    pub extra_labels: Vec<String>,
    pub logging: Option<Logging>,
    pub remove_containers: bool,
    pub reap: Reap,
    pub volumes_enabled: bool,
    pub selinux_label: String,
    pub allow_privileged: bool,
    pub allow_caps: Vec<String>,
    /// Patterns of what a job may name in `devices`.
    pub allow_devices: Vec<String>,
    pub allow_runtimes: Vec<String>,
    pub allowed_modes: AllowedModes,
    pub image_pull_timeout: Duration,
    pub pull_activity_timeout: Duration,
    pub name_conflict_attempts: u32,
    /// 0: no limit.
    pub pids_limit: i64,
    pub disable_log_collection: bool,
    pub syncer_socket: PathBuf,
    /// How long a stop waits for the drain; zero: not at all.
    pub drain: Duration,
    /// The longest drain that a job may ask for.
    pub drain_max: Duration,
    /// Options that were set and do nothing here.
    pub without_effect: Vec<&'static str>,
}

/// What to do with containers of this driver that no task owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reap {
    pub enabled: bool,
    pub period: Duration,
    pub grace: Duration,
    pub dry_run: bool,
}

impl Reap {
    pub const OFF: Self = Self {
        enabled: false,
        period: DURATION_MIN,
        grace: DURATION_MIN,
        dry_run: false,
    };
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(transparent)]
    Decode(#[from] CtyError),
    #[error(
        "{option} = {value:?} is not a duration; write it like \"30s\", \"5m\" or \"1h30m\", ten years at most"
    )]
    Duration { option: &'static str, value: String },
    #[error("{option} is {value:?}, it has to be at least {}s", DURATION_MIN.as_secs())]
    TooShort {
        option: &'static str,
        value: Duration,
    },
    #[error("allowed_modes.{mode} does not know {value:?}; it takes {expected}")]
    Mode {
        mode: &'static str,
        value: String,
        expected: &'static str,
    },
    #[error("syncer.drain is {drain:?}, more than syncer.drain_max allows ({drain_max:?})")]
    Drain {
        drain: Duration,
        drain_max: Duration,
    },
    #[error(transparent)]
    Tls(#[from] TlsConfigError),
    #[error("{option} is {value}, a number from 0 up is wanted")]
    Negative { option: &'static str, value: i64 },
}

impl Default for PluginConfig {
    /// What an empty block means, environment aside.
    fn default() -> Self {
        Self::from_raw(raw::Raw::default(), Environment::default())
            .expect("the defaults pass their own checks, as a test shows")
    }
}

impl PluginConfig {
    /// Decodes and checks what the agent sent.
    pub fn from_msgpack(bytes: &[u8]) -> Result<Self, ConfigError> {
        let raw: raw::Raw = cty::from_slice(bytes)?;
        Self::from_raw(raw, Environment::of_process())
    }

    fn from_raw(raw: raw::Raw, environment: Environment) -> Result<Self, ConfigError> {
        raw.allowed_modes.check()?;
        let without_effect = raw.without_effect();
        let at_least_min = |option, value| {
            if value < DURATION_MIN {
                Err(ConfigError::TooShort { option, value })
            } else {
                Ok(value)
            }
        };
        let rule = &raw.gc.dangling_containers;
        let reap = Reap {
            enabled: rule.enabled,
            period: duration("gc.dangling_containers.period", &rule.period)?,
            grace: at_least_min(
                "gc.dangling_containers.creation_grace",
                duration(
                    "gc.dangling_containers.creation_grace",
                    &rule.creation_grace,
                )?,
            )?,
            dry_run: rule.dry_run,
        };
        let drain = duration("syncer.drain", &raw.syncer.drain)?;
        let drain_max = duration("syncer.drain_max", &raw.syncer.drain_max)?;
        if drain > drain_max {
            return Err(ConfigError::Drain { drain, drain_max });
        }
        if raw.pids_limit < 0 {
            return Err(ConfigError::Negative {
                option: "pids_limit",
                value: raw.pids_limit,
            });
        }
        Ok(Self {
            engine: address::address(raw.endpoint, raw.tls.as_ref(), environment)?,
            extra_labels: raw.extra_labels,
            logging: raw.logging,
            remove_containers: raw.gc.container,
            reap,
            volumes_enabled: raw.volumes.enabled,
            selinux_label: raw.volumes.selinuxlabel,
            allow_privileged: raw.allow_privileged,
            allow_caps: raw.allow_caps,
            allow_devices: raw.allow_devices,
            allow_runtimes: raw.allow_runtimes,
            allowed_modes: raw.allowed_modes,
            image_pull_timeout: duration("image_pull_timeout", &raw.image_pull_timeout)?,
            pull_activity_timeout: at_least_min(
                "pull_activity_timeout",
                duration("pull_activity_timeout", &raw.pull_activity_timeout)?,
            )?,
            name_conflict_attempts: u32::try_from(raw.container_exists_attempts).map_err(|_| {
                ConfigError::Negative {
                    option: "container_exists_attempts",
                    value: raw.container_exists_attempts,
                }
            })?,
            pids_limit: raw.pids_limit,
            disable_log_collection: raw.disable_log_collection,
            syncer_socket: PathBuf::from(raw.syncer.socket),
            drain,
            drain_max,
            without_effect,
        })
    }
}

/// The options of the block, as the agent has to read them.
pub fn schema() -> Spec {
    raw::Raw::schema()
}

/// Go's notation, as users write it everywhere in Nomad: `1h30m`, `1.5s`, `250ms`.
pub fn duration(option: &'static str, text: &str) -> Result<Duration, ConfigError> {
    parse_duration(text).ok_or_else(|| ConfigError::Duration {
        option,
        value: text.to_owned(),
    })
}

fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (amount, tail) = rest.split_at(digits);
        let unit_length = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_length);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(amount.parse::<f64>().ok()? * seconds).ok()?;
        total = total.checked_add(part)?;
        rest = tail;
    }
    (!text.trim().is_empty() && total <= DURATION_MAX).then_some(total)
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
