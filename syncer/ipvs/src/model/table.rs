//! A whole table: virtual services in order of identity, real servers in order of address.
//!
//! Copies share what did not change since: a mirror of the kernel and what was published of it are one in memory.
//! [`Table::apply`] has the kernel's own refusals (`net/netfilter/ipvs/ip_vs_ctl.c`), so that a mirror of the kernel
//! and the fake kernel are the same thing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Command, RealServer, ServiceId, ServiceSettings};
use crate::errno;

/// One virtual service with its real servers, sorted by address, no address twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualService {
    pub settings: ServiceSettings,
    reals: Arc<Vec<RealServer>>,
}

impl VirtualService {
    /// Sorts `reals`; of one address twice the first stays.
    pub fn new(settings: ServiceSettings, mut reals: Vec<RealServer>) -> Self {
        reals.sort_by_key(|real| real.address);
        reals.dedup_by_key(|real| real.address);
        reals.shrink_to_fit();
        Self {
            settings,
            reals: Arc::new(reals),
        }
    }

    /// In order of address.
    pub fn reals(&self) -> &[RealServer] {
        &self.reals
    }

    /// The same, to be kept.
    pub fn shared_reals(&self) -> Arc<Vec<RealServer>> {
        Arc::clone(&self.reals)
    }

    /// The real server of that address.
    pub fn real(&self, address: SocketAddr) -> Option<&RealServer> {
        let at = self.find(address).ok()?;
        self.reals.get(at)
    }

    fn find(&self, address: SocketAddr) -> Result<usize, usize> {
        self.reals
            .binary_search_by_key(&address, |real| real.address)
    }
}

/// Virtual services by identity.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Table(BTreeMap<ServiceId, Arc<VirtualService>>);

impl Table {
    /// The virtual service of that identity.
    pub fn get(&self, id: &ServiceId) -> Option<&VirtualService> {
        self.0.get(id).map(|service| &**service)
    }

    /// The same, to be kept.
    pub fn share(&self, id: &ServiceId) -> Option<Arc<VirtualService>> {
        self.0.get(id).map(Arc::clone)
    }

    /// Takes from `known` whatever is the same there, so that it is in memory once.
    pub fn share_with(&mut self, known: &Self) {
        for (id, service) in &mut self.0 {
            if let Some(same) = known.0.get(id).filter(|known| *known == service) {
                *service = Arc::clone(same);
            }
        }
    }

    /// All, in order of identity.
    pub fn iter(&self) -> impl Iterator<Item = (&ServiceId, &VirtualService)> {
        self.0.iter().map(|(id, service)| (id, &**service))
    }

    /// How many virtual services.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts a virtual service in place, whatever was there.
    pub fn insert(&mut self, id: ServiceId, service: VirtualService) {
        self.0.insert(id, Arc::new(service));
    }

    /// Takes a virtual service out.
    pub fn remove(&mut self, id: &ServiceId) -> Option<Arc<VirtualService>> {
        self.0.remove(id)
    }

    /// Does to this table what the kernel would do to its own, or refuses with the same errno.
    pub fn apply(&mut self, command: &Command) -> Result<(), i32> {
        match command {
            Command::AddService(id, settings) => match self.0.entry(*id) {
                std::collections::btree_map::Entry::Occupied(_) => Err(errno::EEXIST),
                std::collections::btree_map::Entry::Vacant(free) => {
                    free.insert(Arc::new(VirtualService::new(*settings, Vec::new())));
                    Ok(())
                }
            },
            Command::EditService(id, settings) => {
                self.service(id)?.settings = *settings;
                Ok(())
            }
            Command::RemoveService(id) => self.0.remove(id).map(|_| ()).ok_or(errno::ESRCH),
            Command::AddReal(id, real) => {
                let service = self.service(id)?;
                let Err(at) = service.find(real.address) else {
                    return Err(errno::EEXIST);
                };
                Arc::make_mut(&mut service.reals).insert(at, *real);
                Ok(())
            }
            Command::EditReal(id, real) => {
                let service = self.service(id)?;
                let at = service.find(real.address).map_err(|_| errno::ENOENT)?;
                Arc::make_mut(&mut service.reals)[at] = *real;
                Ok(())
            }
            Command::RemoveReal(id, address) => {
                let service = self.service(id)?;
                let at = service.find(*address).map_err(|_| errno::ENOENT)?;
                Arc::make_mut(&mut service.reals).remove(at);
                Ok(())
            }
        }
    }

    fn service(&mut self, id: &ServiceId) -> Result<&mut VirtualService, i32> {
        self.0.get_mut(id).map(Arc::make_mut).ok_or(errno::ESRCH)
    }
}

impl FromIterator<(ServiceId, VirtualService)> for Table {
    fn from_iter<T: IntoIterator<Item = (ServiceId, VirtualService)>>(services: T) -> Self {
        let services = services.into_iter();
        Self(
            services
                .map(|(id, service)| (id, Arc::new(service)))
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Scheduler;

    #[test]
    fn what_is_the_same_in_two_readings_is_in_memory_once() {
        let id = |port: u16| -> ServiceId { format!("198.18.0.29:{port}").parse().unwrap() };
        let service = |name| VirtualService::new(ServiceSettings::new(name), Vec::new());
        let known: Table = [
            (id(80), service(Scheduler::WRR)),
            (id(81), service(Scheduler::WRR)),
        ]
        .into_iter()
        .collect();
        let mut read: Table = [
            (id(80), service(Scheduler::WRR)),
            (id(81), service("rr".parse().unwrap())),
        ]
        .into_iter()
        .collect();
        let before = read.clone();
        read.share_with(&known);
        assert_eq!(read, before);
        let are_one = |id| Arc::ptr_eq(&read.share(&id).unwrap(), &known.share(&id).unwrap());
        assert!(are_one(id(80)) && !are_one(id(81)));
    }
}
