//! Steps that the kernel refused, as knowledge: the same step is not sent again before its time.
//!
//! A refusal that contradicts the mirror (it is there already, it is not there) means that the mirror is wrong; any other
//! says something about the step itself, such as a scheduler that this kernel has not.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ipvs::{Command, KernelRefusal, ServiceId, errno};

use crate::backoff::Backoff;

/// From the first to the longest time until a refused step is tried again.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_mins(1));

#[derive(Debug, Clone, Copy)]
struct Refusal {
    command: Command,
    backoff: Backoff,
    retry_at: Instant,
}

type Key = (ServiceId, Option<SocketAddr>);

/// The refusals that are known.
#[derive(Debug, Default)]
pub(super) struct Refusals(BTreeMap<Key, Refusal>);

/// Whether a refusal says that the table is not what the mirror shows.
pub(super) fn contradicts(refused: &KernelRefusal) -> bool {
    match refused.errno {
        errno::EEXIST | errno::ESRCH => true,
        // Of a virtual service: no such scheduler.
        errno::ENOENT => !refused.command.is_about_service(),
        _ => false,
    }
}

impl Refusals {
    /// Whether this very step was refused and its time has not come.
    pub(super) fn forbid(&self, command: &Command, now: Instant) -> bool {
        let known = self.0.get(&key(command));
        known.is_some_and(|known| known.command == *command && now < known.retry_at)
    }

    /// Notes that the command was refused, perhaps again.
    pub(super) fn note(&mut self, command: &Command, now: Instant) {
        let before = self.0.get(&key(command));
        let before = before.filter(|before| before.command == *command);
        let mut backoff = before.map_or(BACKOFF, |before| before.backoff);
        let refusal = Refusal {
            command: *command,
            retry_at: now + backoff.fail(),
            backoff,
        };
        self.0.insert(key(command), refusal);
    }

    /// Notes that the command was done.
    pub(super) fn forget(&mut self, command: &Command) {
        if !self.0.is_empty() {
            self.0.remove(&key(command));
        }
    }

    /// Forgets the refusals of commands that are not planned any more.
    pub(super) fn keep(&mut self, planned: impl Fn(&Command) -> bool) {
        self.0.retain(|_, refusal| planned(&refusal.command));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Says when the next refused command may be tried. One whose time has come without a try waits for something else.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        let later = self.0.values().map(|refusal| refusal.retry_at);
        later.filter(|at| *at > now).min()
    }
}

fn key(command: &Command) -> Key {
    let address = match command {
        Command::AddReal(_, real) | Command::EditReal(_, real) => Some(real.address),
        Command::RemoveReal(_, address) => Some(*address),
        Command::AddService(..) | Command::EditService(..) | Command::RemoveService(_) => None,
    };
    (*command.service(), address)
}

#[cfg(test)]
mod tests;
