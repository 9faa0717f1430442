//! A config that is read again on SIGHUP: what can change while we run changes, what can't is named, and a bad config
//! changes nothing.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use ipvs_syncer::config::{self, Config, DirectorConfig};
use ipvs_syncer::error::chain;
use syncer_core::model::policy::Policy;
use tokio::sync::watch;
use tracing::{error, info, warn};
use tracing_subscriber::{EnvFilter, reload};

/// A running process's config, and what hears of another one.
pub(super) struct Reload {
    pub(super) path: PathBuf,
    pub(super) current: Config,
    pub(super) log: LogLevel,
    pub(super) warnings: watch::Sender<Vec<String>>,
    /// `None`: the process has not that role.
    pub(super) director: Option<Channels>,
}

/// Where the level of the log comes from.
pub(super) enum LogLevel {
    Config(Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>),
    /// The environment's word counts.
    Environment,
}

/// The channels by which a director's parts get a new config.
#[derive(Debug)]
pub(super) struct Channels {
    pub(super) policy: watch::Sender<Policy>,
    /// The Consul services that the config names.
    pub(super) names: watch::Sender<BTreeSet<Arc<str>>>,
}

impl Channels {
    /// Channels with what the config says at the start.
    pub(super) fn new(settings: &DirectorConfig) -> Self {
        Self {
            policy: watch::Sender::new(settings.policy()),
            names: watch::Sender::new(names(settings)),
        }
    }
}

fn names(settings: &DirectorConfig) -> BTreeSet<Arc<str>> {
    settings.services.keys().map(Arc::clone).collect()
}

/// Makes the filter of the log for that level.
pub(super) fn filter(level: &str) -> EnvFilter {
    EnvFilter::new(format!("warn,ipvs_syncer={level}"))
}

impl Reload {
    /// Reads the file again and hands on what differs.
    pub(super) async fn reload(&mut self) {
        let path = self.path.clone();
        let loaded = match tokio::task::spawn_blocking(move || config::load(&path)).await {
            Ok(loaded) => loaded,
            Err(ended) => {
                error!(error = %ended, "the config is not read again; nothing changed");
                return;
            }
        };
        match loaded {
            Ok(next) => self.adopt(next),
            Err(error) => {
                error!(
                    error = chain(&error),
                    "the config is not taken; nothing changed"
                );
            }
        }
    }

    fn adopt(&mut self, mut next: Config) {
        for key in fixed(&mut next, &self.current) {
            warn!(
                key,
                "changed in the config, and not taken: that needs a restart"
            );
        }
        for warning in &next.warnings {
            warn!("{warning}");
        }
        self.warnings.send_replace(next.warnings.clone());
        if next.log_level != self.current.log_level {
            self.adopt_level(&next.log_level);
        }
        if let (Some(channels), Some(settings)) = (&self.director, &next.director) {
            // Names first, so that a new service is read soon.
            publish(&channels.names, names(settings));
            publish(&channels.policy, settings.policy());
        }
        self.current = next;
        info!("the config is read again");
    }

    fn adopt_level(&self, level: &str) {
        match &self.log {
            LogLevel::Config(replace) => {
                if let Err(error) = replace(filter(level)) {
                    error!(%error, "the level of the log stays as it is");
                }
            }
            LogLevel::Environment => {
                warn!("log_level changed in the config, and RUST_LOG in the environment counts");
            }
        }
    }
}

fn publish<T: PartialEq>(channel: &watch::Sender<T>, next: T) {
    channel.send_if_modified(|current| {
        let differs = *current != next;
        *current = next;
        differs
    });
}

/// Names what can't change while we run, and puts it back to what is in use.
fn fixed(next: &mut Config, current: &Config) -> Vec<&'static str> {
    let mut keys = Vec::new();
    keep(
        &mut keys,
        "state_dir",
        &mut next.state_dir,
        &current.state_dir,
    );
    keep(&mut keys, "consul", &mut next.consul, &current.consul);
    keep(&mut keys, "nomad", &mut next.nomad, &current.nomad);
    keep(&mut keys, "status", &mut next.status, &current.status);
    keep(
        &mut keys,
        "registrar",
        &mut next.registrar,
        &current.registrar,
    );
    keep(
        &mut keys,
        "real_server",
        &mut next.real_server,
        &current.real_server,
    );
    keep(&mut keys, "hints", &mut next.hints, &current.hints);
    match (&mut next.director, &current.director) {
        (Some(next), Some(current)) => fixed_of_director(next, current, &mut keys),
        (next, current) => keep(&mut keys, "director", next, current),
    }
    keys
}

fn fixed_of_director(
    next: &mut DirectorConfig,
    current: &DirectorConfig,
    keys: &mut Vec<&'static str>,
) {
    let DirectorConfig {
        interface,
        snat_backend,
        audit_interval,
        ownership,
        ..
    } = next;
    keep(keys, "director.interface", interface, &current.interface);
    keep(
        keys,
        "director.snat_backend",
        snat_backend,
        &current.snat_backend,
    );
    keep(
        keys,
        "director.audit_interval",
        audit_interval,
        &current.audit_interval,
    );
    // What was ours has to be taken care of as long as we run.
    let ranges = &mut ownership.ranges;
    for range in &current.ownership.ranges {
        if !ranges.contains(range) {
            ranges.push(*range);
            keys.push("director.own");
        }
    }
}

fn keep<T: Clone + PartialEq>(
    keys: &mut Vec<&'static str>,
    key: &'static str,
    next: &mut T,
    current: &T,
) {
    if next != current {
        keys.push(key);
        next.clone_from(current);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNNING: &str = r#"
consul { address = "http://127.0.0.1:8500" }
director {
  interface = "eth0"
  own = ["198.18.0.0/24"]
}
service "web" {
  vip = "198.18.0.29:80"
}
"#;

    #[test]
    fn what_can_not_change_is_named_and_stays_as_it_is() {
        let current = config::parse(RUNNING).unwrap();
        let text = RUNNING
            .replace("8500", "8501")
            .replace("eth0", "eth1")
            .replace(
                "[\"198.18.0.0/24\"]",
                "[\"198.18.0.29/32\", \"198.18.1.0/24\"]",
            )
            .replace("29:80\"", "29:80\"\n  drain_deadline = \"7s\"")
            + "service \"api\" { vip = \"198.18.1.1:80\" }\nstatus { listen = \"127.0.0.1:1\" }\n";
        let mut next = config::parse(&text).unwrap();
        let keys = fixed(&mut next, &current);
        assert_eq!(
            keys,
            ["consul", "status", "director.interface", "director.own"]
        );
        assert_eq!((&next.consul, next.status), (&current.consul, None));
        let director = next.director.unwrap();
        assert_eq!(director.interface, "eth0");
        assert_eq!(director.services.len(), 2);
        assert_ne!(
            Some(&director.services),
            current.director.as_ref().map(|d| &d.services)
        );
        assert_eq!(director.ownership.ranges.len(), 3);
    }
}
