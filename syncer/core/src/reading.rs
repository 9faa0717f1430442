//! What a data plane has, as far as it was read. Also the mirror of it that steps are reflected in.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ipvs::{Connections, ServiceId, Table, Unreadable};

use crate::plan::{Addresses, SnatSet, Step, Sysctls};

/// Connections by virtual service and real server.
pub type Counts = BTreeMap<(ServiceId, SocketAddr), Connections>;

/// Everything there is.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    pub table: Table,
    pub counts: Counts,
    pub addresses: Addresses,
    /// `None` where it has to be set anew.
    pub snat: Option<SnatSet>,
    /// Those that are not as a virtual service may need them.
    pub sysctls: Sysctls,
    /// What somebody else has in the kernel that can't be read, and that nobody here touches; the first few.
    pub unreadable: Vec<Unreadable>,
}

impl Reading {
    /// What there is after a step that was done; false where that is not sure.
    #[must_use]
    pub fn reflect(&mut self, step: &Step) -> bool {
        match step {
            Step::Ipvs(command) => return self.table.apply(command).is_ok(),
            Step::SetSysctl(sysctl) => drop(self.sysctls.remove(sysctl)),
            Step::SetSnat(services) => self.snat = Some(services.clone()),
            Step::AddVip(vip) => {
                self.addresses.present.insert(*vip);
                self.addresses.ours.insert(*vip);
            }
            Step::RemoveVip(vip) => {
                self.addresses.present.remove(vip);
                self.addresses.ours.remove(vip);
            }
            Step::ForgetFlows(..) | Step::ForgetUnanswered(_) => {}
        }
        true
    }
}
