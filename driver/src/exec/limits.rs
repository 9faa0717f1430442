//! How many commands of one task run, and how many of them begin, at the same time: a task that asks for hundreds at once
//! waits for its own and leaves the engine to the others.

use std::sync::Arc;
use std::time::Duration;

use nomad_driver_sdk::DriverError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// Each holds a connection and its buffers.
const MOST_COMMANDS: usize = 256;
/// To begin a command is work for the engine and for the kernel: a process of the runtime each.
const STARTS_MAX: usize = 4;
/// A command that waits longer for its turn is refused.
const LONGEST_TURN: Duration = Duration::from_mins(1);

/// One task's.
#[derive(Debug, Clone)]
pub struct Limits {
    commands: Arc<Semaphore>,
    starts: Arc<Semaphore>,
}

/// A command's right to run, as long as it is held.
pub(super) type Permit = OwnedSemaphorePermit;

impl Default for Limits {
    fn default() -> Self {
        Self {
            commands: Arc::new(Semaphore::new(MOST_COMMANDS)),
            starts: Arc::new(Semaphore::new(STARTS_MAX)),
        }
    }
}

impl Limits {
    pub(super) fn command(&self) -> Result<Permit, DriverError> {
        let permit = Arc::clone(&self.commands).try_acquire_owned();
        permit.map_err(|_| {
            DriverError::new(format!(
                "{MOST_COMMANDS} commands run inside this task already"
            ))
        })
    }

    /// The right to begin a command.
    pub(super) async fn turn(&self) -> Result<SemaphorePermit<'_>, DriverError> {
        match timeout(LONGEST_TURN, self.starts.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(DriverError::new(format!(
                "too many commands are being started inside this task: no turn within {} s",
                LONGEST_TURN.as_secs()
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_with_hundreds_of_commands_is_told_and_another_is_not_concerned() {
        let (hostile, other) = (Limits::default(), Limits::default());
        let permits: Vec<_> = (0..MOST_COMMANDS)
            .map(|_| hostile.command().unwrap())
            .collect();
        let refusal = hostile.command().unwrap_err().to_string();
        assert!(refusal.contains("256 commands run"), "{refusal}");
        let mut turns = Vec::new();
        for _ in 0..STARTS_MAX {
            turns.push(hostile.turn().await.unwrap());
        }
        let refusal = hostile.turn().await.unwrap_err().to_string();
        assert!(refusal.contains("no turn within 60 s"), "{refusal}");
        assert!(other.command().is_ok() && other.turn().await.is_ok());
        drop(permits);
        drop(turns);
        assert!(hostile.command().is_ok() && hostile.turn().await.is_ok());
    }
}
