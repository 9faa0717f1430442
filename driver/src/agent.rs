//! What differs by the version of the Nomad agent, in one place.
//!
//! | | 1.6 | 1.7 and later |
//! |---|---|---|
//! | CPU topology in `SetConfig` | no: read the machine's | yes |
//! | cgroup v2 | the container has to be a child of the agent's cpuset parent | Docker's own parent |
//! | `Init`, `Shutdown` | never called | 2.0.4 and later |
//! | `/alloc/logs` mounted read-only | no | 2.0.1 and later |
//! | `pid_mode` and the like | any | only what `allowed_modes` permits, 2.0.4 and later |
//!
//! The agent does not say its version; the topology's presence tells the two apart. Where the columns differ in what a
//! job may do (the last two rows) this driver always follows the newer one.

use std::fs;

use nomad_driver_sdk::{ClientTopology, NomadDriverConfig};

/// The agent's facts about itself and the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    pub generation: Generation,
    pub compute: Compute,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// Nomad 1.6 and before.
    V1_6,
    /// Nomad 1.7 and later.
    V1_7,
}

/// The machine's processing power as the scheduler counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compute {
    pub cores: u64,
    pub total_mhz: u64,
}

impl Agent {
    pub fn new(config: Option<NomadDriverConfig>) -> Self {
        match config.and_then(|config| config.topology) {
            Some(topology) => Self {
                generation: Generation::V1_7,
                compute: Compute::from_topology(&topology),
            },
            None => Self {
                generation: Generation::V1_6,
                compute: Compute::of_machine(),
            },
        }
    }
}

impl Compute {
    fn from_topology(topology: &ClientTopology) -> Self {
        let speeds = topology
            .cores
            .iter()
            .map(|core| [core.base_speed, core.max_speed, core.guess_speed]);
        let sum = speeds
            .map(|speeds| speeds.into_iter().find(|mhz| *mhz > 0).unwrap_or_default())
            .sum();
        let total_mhz = if topology.override_total_compute > 0 {
            topology.override_total_compute
        } else {
            sum
        };
        Self {
            cores: topology.cores.len() as u64,
            total_mhz,
        }
    }

    fn of_machine() -> Self {
        Self::from_cpuinfo(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default())
    }

    /// `text` is `/proc/cpuinfo`. At least one core of one MHz, so that nothing is divided by zero.
    fn from_cpuinfo(text: &str) -> Self {
        let value = |line: &str| {
            line.split_once(':')
                .map(|(_, value)| value.trim().to_owned())
        };
        let cores = text
            .lines()
            .filter(|line| line.starts_with("processor"))
            .count()
            .max(1) as u64;
        let mhz: f64 = text
            .lines()
            .filter(|line| line.starts_with("cpu MHz"))
            .filter_map(value)
            .filter_map(|mhz| mhz.parse::<f64>().ok())
            .sum();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a sum of clock rates"
        )]
        Self {
            cores,
            total_mhz: (mhz as u64).max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_without_topology_is_1_6_and_the_machine_is_read() {
        let agent = Agent::new(Some(NomadDriverConfig {
            client_min_port: 20000,
            client_max_port: 32000,
            topology: None,
        }));
        assert_eq!(agent.generation, Generation::V1_6);
        assert!(agent.compute.cores > 0 && agent.compute.total_mhz > 0);
    }

    #[test]
    fn cpuinfo_gives_cores_and_their_sum() {
        let text = "processor\t: 0\ncpu MHz\t\t: 2400.0\n\nprocessor\t: 1\ncpu MHz\t\t: 2600.5\n";
        assert_eq!(
            Compute::from_cpuinfo(text),
            Compute {
                cores: 2,
                total_mhz: 5000
            }
        );
        assert_eq!(
            Compute::from_cpuinfo(""),
            Compute {
                cores: 1,
                total_mhz: 1
            }
        );
    }
}
