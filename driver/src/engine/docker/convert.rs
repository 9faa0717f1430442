//! From Docker's answers, in which everything may be absent, to the driver's own words.

use std::time::{Duration, SystemTime};

use bollard::errors::Error;
use bollard::models::{
    ContainerInspectResponse, ContainerStateStatusEnum, ContainerStatsResponse, ContainerSummary,
    CreateImageInfo, NetworkInspect, SystemInfo, SystemVersion,
};
use jiff::Timestamp;
use nomad_driver_sdk::value::MemoryStats;

use crate::engine::{
    ApiVersion, Container, ContainerId, ContainerState, EngineError, EngineFacts, Layer,
    LayerState, ListEntry, LogLimits, Network, Sample,
};

pub(super) fn error(error: Error) -> EngineError {
    match error {
        Error::DockerResponseServerError {
            status_code: 404,
            message,
        } => EngineError::NotFound(message),
        Error::DockerResponseServerError {
            status_code: 409,
            message,
        } => EngineError::Conflict(message),
        Error::DockerResponseServerError {
            status_code,
            message,
        } if is_half_down(status_code, &message) => EngineError::Unreachable(message),
        Error::DockerResponseServerError { message, .. } => EngineError::Refusal(message),
        Error::DockerStreamError { error } => EngineError::Refusal(error),
        Error::RequestTimeoutError => EngineError::Unreachable("no answer".to_owned()),
        other => EngineError::Unreachable(root(&other)),
    }
}

/// Whether the engine answers and can't reach the containerd that runs its containers: one of both was killed, or starts
/// now. It says so with 503, or with 500 and containerd's `ErrUnavailable`, whose text is the last of the message.
fn is_half_down(status_code: u16, message: &str) -> bool {
    status_code == 503 || (status_code == 500 && message.trim_end().ends_with(": unavailable"))
}

/// The HTTP client wraps a cause several times without saying more.
fn root(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), root)
}

pub(super) fn facts(
    version: SystemVersion,
    info: SystemInfo,
    bridge: Option<NetworkInspect>,
) -> EngineFacts {
    let mut runtimes: Vec<_> = info.runtimes.unwrap_or_default().into_keys().collect();
    runtimes.sort();
    EngineFacts {
        version: version.version.unwrap_or_default(),
        api_version: version
            .api_version
            .as_deref()
            .and_then(ApiVersion::parse)
            .unwrap_or_default(),
        os_type: info.os_type.unwrap_or_default(),
        runtimes,
        bridge_ip: bridge
            .and_then(|network| network.ipam?.config?.into_iter().next()?.gateway)
            .filter(|ip| !ip.is_empty()),
    }
}

/// `None` when the answer lacks what no container lacks.
pub(super) fn container(answer: ContainerInspectResponse) -> Option<Container> {
    let state = answer.state?;
    let config = answer.config.unwrap_or_default();
    let is = |flag: Option<bool>| flag.unwrap_or_default();
    let pid = state
        .pid
        .and_then(|pid| i32::try_from(pid).ok())
        .filter(|pid| *pid > 0);
    let networks = answer
        .network_settings
        .and_then(|settings| settings.networks)
        .unwrap_or_default();
    let mut networks: Vec<_> = networks
        .into_iter()
        .map(|(name, endpoint)| Network {
            name,
            address: endpoint.ip_address.and_then(|text| text.parse().ok()),
            address6: endpoint
                .global_ipv6_address
                .and_then(|text| text.parse().ok()),
        })
        .collect();
    networks.sort_by(|a, b| a.name.cmp(&b.name));
    let log_config = answer.host_config.and_then(|host| host.log_config);
    let log_limits = log_config.and_then(|log| {
        LogLimits::of(
            &log.typ.unwrap_or_default(),
            &log.config.unwrap_or_default(),
        )
    });
    Some(Container {
        id: ContainerId(answer.id?),
        name: answer
            .name
            .unwrap_or_default()
            .trim_start_matches('/')
            .to_owned(),
        labels: config.labels.unwrap_or_default(),
        image_id: answer.image.unwrap_or_default(),
        tty: is(config.tty),
        started_at: state.started_at.as_deref().and_then(time),
        finished_at: state.finished_at.as_deref().and_then(time),
        pid,
        networks,
        log_limits,
        state: if is(state.paused) {
            ContainerState::Paused
        } else if is(state.running) {
            ContainerState::Running
        } else if state.status == Some(ContainerStateStatusEnum::CREATED) {
            ContainerState::Created
        } else {
            ContainerState::Exited {
                code: state.exit_code.unwrap_or_default(),
                oom_killed: is(state.oom_killed),
                error: state.error.unwrap_or_default(),
            }
        },
    })
}

pub(super) fn list_entry(answer: ContainerSummary) -> Option<ListEntry> {
    let created = u64::try_from(answer.created?).ok()?;
    Some(ListEntry {
        id: ContainerId(answer.id?),
        created: SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(created))?,
        labels: answer.labels.unwrap_or_default(),
    })
}

/// `None` for a line that speaks of the image as a whole.
pub(super) fn layer(line: CreateImageInfo) -> Option<Layer> {
    let size = |size: Option<i64>| size.and_then(|size| u64::try_from(size).ok());
    let detail = line.progress_detail.unwrap_or_default();
    let (current, total) = (
        size(detail.current).unwrap_or_default(),
        size(detail.total).unwrap_or_default(),
    );
    let state = match line.status?.as_str() {
        "Pulling fs layer" | "Waiting" => LayerState::Waiting,
        "Downloading" => LayerState::Loading { current, total },
        "Download complete" | "Verifying Checksum" | "Extracting" => LayerState::Loaded { total },
        "Pull complete" | "Already exists" => LayerState::Complete { total },
        _ => return None,
    };
    Some(Layer {
        id: line.id?,
        state,
    })
}

/// cgroup v1 and v2 name their numbers differently.
pub(super) fn sample(answer: ContainerStatsResponse) -> Sample {
    let cpu = answer.cpu_stats.unwrap_or_default();
    let usage = cpu.cpu_usage.unwrap_or_default();
    let throttling = cpu.throttling_data.unwrap_or_default();
    let memory = answer.memory_stats.unwrap_or_default();
    let details = memory.stats.unwrap_or_default();
    let detail = |v1: &str, v2: &str| details.get(v1).or_else(|| details.get(v2)).copied();
    Sample {
        at: answer
            .read
            .as_deref()
            .and_then(time)
            .unwrap_or_else(SystemTime::now),
        cpu_total: usage.total_usage.unwrap_or_default(),
        cpu_kernel: usage.usage_in_kernelmode.unwrap_or_default(),
        cpu_user: usage.usage_in_usermode.unwrap_or_default(),
        system_total: cpu.system_cpu_usage.unwrap_or_default(),
        throttled_periods: throttling.throttled_periods.unwrap_or_default(),
        throttled: Duration::from_nanos(throttling.throttled_time.unwrap_or_default()),
        memory: MemoryStats {
            rss: detail("rss", "anon"),
            cache: detail("cache", "file"),
            swap: detail("swap", "swap"),
            usage: memory.usage,
            max_usage: memory.max_usage.filter(|most| *most > 0),
        },
    }
}

/// Docker's year-1 time means "not yet".
fn time(text: &str) -> Option<SystemTime> {
    let stamp: Timestamp = text.parse().ok()?;
    (stamp > Timestamp::UNIX_EPOCH).then(|| SystemTime::from(stamp))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_zero_time_is_not_a_time() {
        assert_eq!(time("0001-01-01T00:00:00Z"), None);
        assert!(time("2026-11-24T21:00:00.123456789Z").is_some());
    }

    #[test]
    fn an_engine_without_its_containerd_is_out_of_reach_and_refuses_nothing() {
        let answer = |status_code, message: &str| {
            error(Error::DockerResponseServerError {
                status_code,
                message: message.to_owned(),
            })
        };
        let dialing = "connection error: desc = \"transport: Error while dialing dial unix /run/containerd.sock: connect: \
                       connection refused\": unavailable";
        assert!(matches!(
            answer(500, dialing),
            EngineError::Unreachable(message) if message == dialing
        ));
        assert!(matches!(answer(503, "no"), EngineError::Unreachable(_)));
        assert!(matches!(
            answer(500, "OCI runtime create failed: the address is unavailable"),
            EngineError::Refusal(_)
        ));
    }

    #[test]
    fn an_answer_without_state_is_no_container() {
        assert_eq!(container(ContainerInspectResponse::default()), None);
    }
}
