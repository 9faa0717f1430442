//! Kernel settings that virtual services need, and which of them are not as they have to be. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ipvs::Family;

use super::SnatSet;
use crate::desired::Desired;

/// What needs a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    Always,
    /// A virtual service whose clients' addresses are rewritten.
    Snat,
    /// A virtual service of IPv6.
    Ipv6,
}

/// A setting as it has to be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sysctl {
    /// Its path below `/proc/sys`.
    pub name: Arc<str>,
    pub value: &'static str,
    pub need: Need,
}

/// Settings that are not as they have to be, each with what it is.
pub type Sysctls = BTreeMap<Sysctl, String>;

impl fmt::Display for Sysctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.replace('/', ".");
        write!(f, "sysctl {name} to {}", self.value)
    }
}

impl Sysctl {
    /// Whether anything that should be needs it, or a rule that is set: real servers that go over to another method are still rewritten.
    pub fn is_needed(&self, desired: &Desired, rules: Option<&SnatSet>) -> bool {
        let mut services = desired.services.iter();
        match self.need {
            Need::Always => true,
            Need::Snat => {
                rules.is_some_and(|rules| !rules.is_empty())
                    || services.any(|(_, service)| service.snat)
            }
            Need::Ipv6 => services.any(|(id, _)| id.family() == Family::V6),
        }
    }
}
