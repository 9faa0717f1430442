//! From this crate's values to Nomad's messages. Here, and only here, `Some(…)` is put around what the agent needs.

mod network;

use std::time::{Duration, SystemTime};

use nomad_ipvs_proto::driver::driver_capabilities::{FsIsolation as WireIsolation, MountConfigs};
use nomad_ipvs_proto::driver::fingerprint_response::HealthState;
use nomad_ipvs_proto::{driver as wire, structs};
use prost_types::Timestamp;

use super::{
    Attribute, Capabilities, CpuStats, DriverNetwork, Exit, Fingerprint, FsIsolation, Health,
    MemoryStats, TaskEvent, TaskState, TaskStats, TaskStatus,
};

/// Go's zero time, 0001-01-01T00:00:00Z: "not yet".
const ZERO_TIME: Timestamp = Timestamp {
    seconds: -62_135_596_800,
    nanos: 0,
};

fn timestamp(time: Option<SystemTime>) -> Timestamp {
    time.map_or(ZERO_TIME, Timestamp::from)
}

impl From<Capabilities> for wire::DriverCapabilities {
    fn from(capabilities: Capabilities) -> Self {
        let isolation = match capabilities.isolation {
            FsIsolation::None => WireIsolation::None,
            FsIsolation::Chroot => WireIsolation::Chroot,
            FsIsolation::Image => WireIsolation::Image,
        };
        let modes = capabilities.network_modes.into_iter();
        Self {
            send_signals: capabilities.send_signals,
            exec: capabilities.exec,
            fs_isolation: isolation.into(),
            network_isolation_modes: modes.map(i32::from).collect(),
            must_create_network: capabilities.must_create_network,
            mount_configs: MountConfigs::AnyMounts.into(),
            disable_log_collection: capabilities.disable_log_collection,
            dynamic_workload_users: false,
        }
    }
}

impl From<Fingerprint> for wire::FingerprintResponse {
    fn from(fingerprint: Fingerprint) -> Self {
        let health = match fingerprint.health {
            Health::Undetected => HealthState::Undetected,
            Health::Unhealthy => HealthState::Unhealthy,
            Health::Healthy => HealthState::Healthy,
        };
        Self {
            attributes: fingerprint
                .attributes
                .into_iter()
                .map(|(name, value)| (name, value.into()))
                .collect(),
            health: health.into(),
            health_description: fingerprint.description,
            err: String::new(),
        }
    }
}

impl From<Attribute> for structs::Attribute {
    fn from(attribute: Attribute) -> Self {
        use structs::attribute::Value;
        let value = match attribute {
            Attribute::Bool(value) => Value::BoolVal(value),
            Attribute::Int(value) => Value::IntVal(value),
            Attribute::Text(value) => Value::StringVal(value),
        };
        Self {
            unit: String::new(),
            value: Some(value),
        }
    }
}

impl From<DriverNetwork> for wire::NetworkOverride {
    fn from(network: DriverNetwork) -> Self {
        Self {
            port_map: network.port_map,
            addr: network.address,
            auto_advertise: network.auto_advertise,
        }
    }
}

impl From<&Exit> for wire::ExitResult {
    fn from(exit: &Exit) -> Self {
        Self {
            exit_code: exit.code,
            signal: exit.signal,
            oom_killed: exit.oom_killed,
        }
    }
}

impl From<Exit> for wire::WaitTaskResponse {
    fn from(exit: Exit) -> Self {
        Self {
            result: Some((&exit).into()),
            err: exit.error,
        }
    }
}

impl From<TaskStatus> for wire::InspectTaskResponse {
    fn from(status: TaskStatus) -> Self {
        let state = match status.state {
            TaskState::Unknown => wire::TaskState::Unknown,
            TaskState::Running => wire::TaskState::Running,
            TaskState::Exited => wire::TaskState::Exited,
        };
        let task = wire::TaskStatus {
            id: status.id,
            name: status.name,
            state: state.into(),
            started_at: Some(timestamp(status.started_at)),
            completed_at: Some(timestamp(status.completed_at)),
            result: Some((&status.exit).into()),
        };
        Self {
            task: Some(task),
            driver: Some(wire::TaskDriverStatus {
                attributes: status.attributes,
            }),
            network_override: status.network.map(Into::into),
        }
    }
}

impl From<TaskEvent> for wire::DriverTaskEvent {
    fn from(event: TaskEvent) -> Self {
        Self {
            task_id: event.task_id,
            alloc_id: event.alloc_id,
            task_name: event.task_name,
            timestamp: Some(event.at.into()),
            message: event.message,
            annotations: event.annotations,
        }
    }
}

impl From<TaskStats> for wire::TaskStatsResponse {
    fn from(stats: TaskStats) -> Self {
        let usage = wire::TaskResourceUsage {
            cpu: Some(stats.cpu.into()),
            memory: Some(stats.memory.into()),
        };
        Self {
            stats: Some(wire::TaskStats {
                id: stats.task_id,
                timestamp: Some(stats.at.into()),
                agg_resource_usage: Some(usage),
                resource_usage_by_pid: std::collections::HashMap::new(),
            }),
        }
    }
}

impl From<CpuStats> for wire::CpuUsage {
    fn from(cpu: CpuStats) -> Self {
        use wire::cpu_usage::Fields;
        let fields = [
            (Fields::SystemMode, cpu.system_percent.is_some()),
            (Fields::UserMode, cpu.user_percent.is_some()),
            (Fields::TotalTicks, cpu.ticks.is_some()),
            (Fields::ThrottledPeriods, cpu.throttled_periods.is_some()),
            (Fields::ThrottledTime, cpu.throttled.is_some()),
            (Fields::Percent, cpu.percent.is_some()),
        ];
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self {
            system_mode: cpu.system_percent.unwrap_or_default(),
            user_mode: cpu.user_percent.unwrap_or_default(),
            total_ticks: cpu.ticks.unwrap_or_default(),
            throttled_periods: cpu.throttled_periods.unwrap_or_default(),
            throttled_time: cpu.throttled.map(nanos).unwrap_or_default(),
            percent: cpu.percent.unwrap_or_default(),
            measured_fields: fields
                .into_iter()
                .filter(|(_, present)| *present)
                .map(|(field, _)| field.into())
                .collect(),
        }
    }
}

impl From<MemoryStats> for wire::MemoryUsage {
    fn from(memory: MemoryStats) -> Self {
        use wire::memory_usage::Fields;
        let fields = [
            (Fields::Rss, memory.rss),
            (Fields::Cache, memory.cache),
            (Fields::Swap, memory.swap),
            (Fields::Usage, memory.usage),
            (Fields::MaxUsage, memory.max_usage),
        ];
        Self {
            rss: memory.rss.unwrap_or_default(),
            cache: memory.cache.unwrap_or_default(),
            max_usage: memory.max_usage.unwrap_or_default(),
            kernel_usage: 0,
            kernel_max_usage: 0,
            usage: memory.usage.unwrap_or_default(),
            swap: memory.swap.unwrap_or_default(),
            measured_fields: fields
                .into_iter()
                .filter(|(_, value)| value.is_some())
                .map(|(field, _)| field.into())
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn a_running_task_has_valid_times_and_a_result() {
        let status = TaskStatus {
            id: "a".into(),
            name: "web".into(),
            state: TaskState::Running,
            started_at: Some(SystemTime::now()),
            completed_at: None,
            exit: Exit::default(),
            attributes: HashMap::new(),
            network: None,
        };
        let task = wire::InspectTaskResponse::from(status).task.unwrap();
        assert_eq!(task.completed_at, Some(ZERO_TIME));
        assert!(task.result.is_some() && task.started_at.is_some());
    }

    #[test]
    fn only_what_was_measured_is_named() {
        let memory = wire::MemoryUsage::from(MemoryStats {
            rss: Some(1),
            ..MemoryStats::default()
        });
        assert_eq!(
            memory.measured_fields,
            [i32::from(wire::memory_usage::Fields::Rss)]
        );
    }
}
