//! Whether tasks can run here, told at once and again whenever it changed or half a minute passed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use nomad_driver_sdk::value::{Attribute, Fingerprint, Health};
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::config::PluginConfig;
use crate::engine::{ApiVersion, ContainerEngine, EngineError, EngineFacts};
use crate::file_work::{FileWork, Hang};
use crate::name::DriverName;

/// The pause between two looks at the engine.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// The pause between two messages when nothing changed.
const REPEAT_INTERVAL: Duration = Duration::from_secs(30);
/// Shorter than the engine port's own limit: a hung engine should be known soon.
const ENGINE_PING_TIMEOUT: Duration = Duration::from_secs(4);
/// Docker 20.10.
const OLDEST_API: ApiVersion = ApiVersion {
    major: 1,
    minor: 41,
};

/// The engine and the settings of the moment; both change with the plugin's configuration.
pub type CurrentEngine<E> =
    Arc<dyn Fn() -> Result<(Arc<E>, Arc<PluginConfig>), String> + Send + Sync>;

/// Never ends.
pub fn stream<E: ContainerEngine>(
    name: DriverName,
    current: CurrentEngine<E>,
    files: FileWork,
) -> impl Stream<Item = Fingerprint> + Send + 'static {
    let begin = Watcher {
        name,
        current,
        files,
        has_answered: false,
        last: None,
    };
    stream::unfold(begin, |mut watcher| async move {
        let fingerprint = watcher.next().await;
        Some((fingerprint, watcher))
    })
}

struct Watcher<E> {
    name: DriverName,
    current: CurrentEngine<E>,
    files: FileWork,
    /// The engine answered once: it is here, whatever it does now.
    has_answered: bool,
    last: Option<(Fingerprint, Instant)>,
}

impl<E: ContainerEngine> Watcher<E> {
    async fn next(&mut self) -> Fingerprint {
        loop {
            if self.last.is_some() {
                sleep(PROBE_INTERVAL).await;
            }
            let fresh = self.look().await;
            let due = match &self.last {
                None => true,
                Some((last, time)) => *last != fresh || time.elapsed() >= REPEAT_INTERVAL,
            };
            if due {
                self.log(&fresh);
                self.last = Some((fresh.clone(), Instant::now()));
                return fresh;
            }
        }
    }

    fn log(&self, fresh: &Fingerprint) {
        if self.last.as_ref().is_some_and(|(last, _)| {
            last.health == fresh.health && last.description == fresh.description
        }) {
            return;
        }
        if fresh.health == Health::Healthy {
            info!(description = fresh.description, "the engine is healthy");
        } else {
            warn!(
                description = fresh.description,
                "the engine can't run tasks"
            );
        }
    }

    async fn look(&mut self) -> Fingerprint {
        if let Some(Hang { work, age }) = self.files.hang() {
            return trouble(
                self.has_answered,
                format!(
                    "Work of this plugin on files hangs ({work}, for {} s): a file system does not answer",
                    age.as_secs()
                ),
            );
        }
        let (engine, config) = match (self.current)() {
            Ok(current) => current,
            Err(reason) => {
                return trouble(
                    self.has_answered,
                    format!("Failed to initialize docker client: {reason}"),
                );
            }
        };
        let facts = timeout(ENGINE_PING_TIMEOUT, engine.facts()).await;
        let facts = facts.unwrap_or(Err(EngineError::Timeout {
            operation: "version",
            after: ENGINE_PING_TIMEOUT,
        }));
        match facts {
            Ok(facts) => {
                self.has_answered = true;
                describe(&self.name, &config, &facts)
            }
            Err(error) => trouble(
                self.has_answered,
                format!(
                    "Failed to connect to docker daemon at {}: {error}",
                    config.engine.endpoint
                ),
            ),
        }
    }
}

fn trouble(has_answered: bool, description: String) -> Fingerprint {
    Fingerprint {
        attributes: BTreeMap::new(),
        health: if has_answered {
            Health::Unhealthy
        } else {
            Health::Undetected
        },
        description,
    }
}

fn describe(name: &DriverName, config: &PluginConfig, facts: &EngineFacts) -> Fingerprint {
    if facts.api_version < OLDEST_API {
        let (version, api) = (&facts.version, facts.api_version);
        return trouble(
            true,
            format!(
                "Docker {version} speaks API {api}; this driver needs {OLDEST_API} (Docker 20.10) or later"
            ),
        );
    }
    if facts.os_type != "linux" {
        return trouble(
            true,
            format!(
                "the engine runs {} containers; this driver needs linux",
                facts.os_type
            ),
        );
    }
    // An attribute that is left out stays on the node as it was: cleared ones are sent empty.
    let flag = |on: bool| {
        if on {
            Attribute::Bool(true)
        } else {
            Attribute::Text(String::new())
        }
    };
    let text = |value: &str| Attribute::Text(value.to_owned());
    let attributes = [
        ("", Attribute::Bool(true)),
        (".version", text(&facts.version)),
        (".api_version", text(&facts.api_version.to_string())),
        (".driver_version", text(env!("CARGO_PKG_VERSION"))),
        (".driver", text(env!("CARGO_PKG_NAME"))),
        (".os_type", text(&facts.os_type)),
        (".runtimes", text(&facts.runtimes.join(","))),
        (
            ".bridge_ip",
            text(facts.bridge_ip.as_deref().unwrap_or_default()),
        ),
        (".privileged.enabled", flag(config.allow_privileged)),
        (".volumes.enabled", flag(config.volumes_enabled)),
        (
            ".pids.limit",
            if config.pids_limit > 0 {
                Attribute::Int(config.pids_limit)
            } else {
                text("")
            },
        ),
    ];
    Fingerprint {
        attributes: attributes
            .into_iter()
            .map(|(suffix, value)| (format!("driver.{name}{suffix}"), value))
            .collect(),
        health: Health::Healthy,
        description: "Healthy".to_owned(),
    }
}
