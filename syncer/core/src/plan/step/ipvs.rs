//! The kernel's table: virtual services and their real servers.

use ::ipvs::{Command, ServiceId, Table};

use super::Act;
use crate::desired::Desired;
use crate::plan::gate::Gate;
use crate::reading::Reading;

impl Act for Command {
    fn service(&self) -> Option<ServiceId> {
        Some(*Self::service(self))
    }

    fn is_of_one_real(&self) -> bool {
        !self.is_about_service()
    }

    fn reflect(&self, mirror: &mut Reading) -> bool {
        mirror.table.apply(self).is_ok()
    }

    fn doubt(&self, _: &mut Reading) -> bool {
        true
    }

    fn fail(&self, gate: &mut Gate, table: &Table) {
        gate.fail_command(self, table);
    }

    fn is_let(&self, gate: &mut Gate, desired: &Desired, table: &Table) -> bool {
        gate.lets_command(self, desired, table)
    }
}
