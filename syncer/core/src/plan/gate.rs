//! What of a plan may still be done after a step of it failed. Pure.
//!
//! - Where clients' addresses can't be rewritten, nothing is added that needs it: a connection keeps for its life what
//!   was decided about its first packet.
//! - Where a virtual service can't be added, neither can its real servers.
//! - Where a real server can't be added or raised, the last one that serves stays as it is, for nobody has come in its
//!   place. All others are lowered and removed as planned: one refusal does not hold up the rest.
//! - What is not gone keeps its address and its SNAT.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipvs::{Command, ServiceId, Table};

use super::{SnatSet, Step};
use crate::desired::Desired;

/// Follows a plan as it is carried out.
#[derive(Debug)]
pub struct Gate {
    /// The virtual services whose clients' addresses are rewritten, as far as is known.
    snat: SnatSet,
    snat_failed: bool,
    /// Virtual services that could not be added.
    absent: BTreeSet<ServiceId>,
    /// Virtual services where something that was to serve does not.
    short: BTreeSet<ServiceId>,
    /// Virtual services where something could not be removed.
    stuck: BTreeSet<ServiceId>,
    /// How many real servers will serve in those that are short.
    left: BTreeMap<ServiceId, usize>,
}

impl Gate {
    /// A gate before the first step. `snat` is what is rewritten now.
    pub fn new(snat: Option<&SnatSet>) -> Self {
        Self {
            snat: snat.cloned().unwrap_or_default(),
            snat_failed: false,
            absent: BTreeSet::new(),
            short: BTreeSet::new(),
            stuck: BTreeSet::new(),
            left: BTreeMap::new(),
        }
    }

    /// Notes that a step failed, or that it was not done because it would have failed.
    pub fn fail(&mut self, step: &Step, table: &Table) {
        step.fail(self, table);
    }

    /// Whether a step of the next stage may be done. `desired` is what was planned for, `table` what there is after the
    /// stages before.
    pub fn lets(&mut self, step: &Step, desired: &Desired, table: &Table) -> bool {
        step.is_let(self, desired, table)
    }

    /// Notes that rules are as they were, so that what needs new ones can't come.
    pub(super) fn nothing_is_rewritten_anew(&mut self) {
        self.snat_failed = true;
    }

    /// Whether all that these rules leave out is gone.
    pub(super) fn lets_go_of_rules(&self, rules: &SnatSet) -> bool {
        let mut dropped = self.snat.difference(rules);
        !dropped.any(|id| self.stuck.contains(id))
    }

    /// Whether all that had that address is gone.
    pub(super) fn lets_go_of_address(&self, vip: IpAddr) -> bool {
        !self.stuck.iter().any(|id| id.vip() == Some(vip))
    }

    pub(super) fn fail_command(&mut self, command: &Command, table: &Table) {
        match command {
            Command::AddService(id, _) => {
                self.absent.insert(*id);
            }
            Command::AddReal(id, _) => {
                self.short.insert(*id);
            }
            Command::EditReal(id, real) => {
                let current = table.get(id).and_then(|service| service.real(real.address));
                if current.is_none_or(|current| real.weight >= current.weight) {
                    self.short.insert(*id);
                }
            }
            Command::RemoveService(id) | Command::RemoveReal(id, _) => {
                self.stuck.insert(*id);
            }
            Command::EditService(..) => {}
        }
    }

    pub(super) fn lets_command(
        &mut self,
        command: &Command,
        desired: &Desired,
        table: &Table,
    ) -> bool {
        match command {
            Command::AddService(id, _) => self.is_rewritten(id, desired),
            Command::EditService(..) => true,
            Command::AddReal(id, _) => !self.absent.contains(id) && self.is_rewritten(id, desired),
            Command::EditReal(id, real) if real.weight.serves() => {
                let current = table.get(id).and_then(|service| service.real(real.address));
                let raised = current.is_none_or(|current| real.weight >= current.weight);
                !raised || (!self.absent.contains(id) && self.is_rewritten(id, desired))
            }
            Command::EditReal(id, real) => self.spares(id, table, real.address),
            Command::RemoveReal(id, address) => self.spares(id, table, *address),
            Command::RemoveService(id) => !self.stuck.contains(id),
        }
    }

    fn is_rewritten(&self, id: &ServiceId, desired: &Desired) -> bool {
        let wanted = desired.services.get(id).is_some_and(|service| service.snat);
        !(self.snat_failed && wanted) || self.snat.contains(id)
    }

    /// Whether the service serves on without that real server, or did not serve by it.
    fn spares(&mut self, id: &ServiceId, table: &Table, address: std::net::SocketAddr) -> bool {
        if !self.short.contains(id) {
            return true;
        }
        let reals = table.get(id).map(ipvs::VirtualService::reals);
        let serving = reals
            .unwrap_or_default()
            .iter()
            .filter(|real| real.weight.serves());
        if !serving.clone().any(|real| real.address == address) {
            return true;
        }
        let left = self.left.entry(*id).or_insert_with(|| serving.count());
        if *left <= 1 {
            return false;
        }
        *left -= 1;
        true
    }
}

#[cfg(test)]
mod tests;
