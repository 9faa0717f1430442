//! Consul's view: services, their instances, and how healthy each is. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipvs::Weight;

use crate::model::policy::Ask;
use crate::model::{AllocId, LeftOut};

/// Worst of the node's and the service's checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Health {
    Passing,
    Warning,
    Critical,
    /// Put in maintenance by hand, the node or the service.
    Maintenance,
}

/// One registered instance of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    pub address: SocketAddr,
    pub health: Health,
    /// Whether any check of its own stands behind that health; a node's check says nothing about the service.
    pub checked: bool,
    pub weight_passing: u32,
    pub weight_warning: u32,
    pub node: Arc<str>,
    /// Which allocation it is, when Nomad or we registered it.
    pub origin: Option<Origin>,
    /// Instances of one service that have the same tags share them.
    pub tags: Arc<Tags>,
}

/// Tags of an instance, and what those of ours ask for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tags {
    pub words: Vec<Box<str>>,
    /// `None` where no tag of ours is.
    pub ask: Option<Ask>,
    /// The weight of an instance while it passes, in place of Consul's.
    pub weight: Option<Weight>,
}

impl Tags {
    /// Whether all of these are among them.
    pub fn have_all(&self, wanted: &[Box<str>]) -> bool {
        wanted.iter().all(|word| self.words.contains(word))
    }
}

/// Every id of a registration of ours begins so: `nomad-ipvs-<alloc>-<task or group>-<label>`.
pub const OUR_REGISTRATIONS: &str = "nomad-ipvs-";

/// Every id of a registration of Nomad's. Its client removes what it does not know under this.
pub const NOMAD_REGISTRATIONS: &str = "_nomad-task-";

/// What a registration's id says about where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub alloc: AllocId,
}

impl Origin {
    /// Reads `_nomad-task-<alloc>-…` (Nomad's own) and `nomad-ipvs-<alloc>-…` (ours).
    pub fn of_service_id(id: &str) -> Option<Self> {
        let rest = id
            .strip_prefix(NOMAD_REGISTRATIONS)
            .or_else(|| id.strip_prefix(OUR_REGISTRATIONS))?;
        let alloc = rest.get(..36)?.parse().ok()?;
        rest.get(36..)?.starts_with('-').then_some(Self { alloc })
    }
}

/// One service as it was last read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CatalogService {
    /// In order of address, the healthier of two registrations of one address first.
    pub instances: Vec<Instance>,
    /// Addresses of the nodes that its answer shows, each with the node's name, in order and none twice.
    pub hosts: Vec<(IpAddr, Arc<str>)>,
    /// Instances that can't be used, the first few of them.
    pub left_out: Vec<LeftOut>,
}

impl CatalogService {
    /// Whether nobody is registered under its name.
    pub fn is_empty(&self) -> bool {
        self.instances.is_empty() && self.left_out.is_empty()
    }
}

/// All services that we watch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Catalog {
    pub services: BTreeMap<Arc<str>, Arc<CatalogService>>,
    /// Services that are followed and could not be read yet: nothing is known of their instances.
    pub unread: BTreeSet<Arc<str>>,
    /// The list of services could not be read yet: there may be more that ask for a VIP.
    pub unlisted: bool,
    /// Services that ask for a VIP and can't be followed.
    pub refused: BTreeMap<Arc<str>, LeftOut>,
    /// Counts how often Consul went on with another history than before: its data were lost, or replaced.
    pub restarts: u64,
    /// Counts reads that were asked for to confirm a loss: each is whole, consistent and independent of the watch.
    pub confirmations: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allocation_is_read_from_nomads_id_and_from_ours_and_from_nothing_else() {
        let alloc = "0f6b3d3e-6f0e-7d3c-1f2a-6f2a0c7f0b11";
        for id in [
            format!("_nomad-task-{alloc}-group-web-www-http"),
            format!("nomad-ipvs-{alloc}-web-http"),
        ] {
            let origin = Origin::of_service_id(&id).unwrap();
            assert_eq!(origin.alloc.to_string(), alloc);
        }
        let others = [
            "web",
            "_nomad-server-x",
            "_nomad-task-",
            "nomad-ipvs-é0f6b3d3e-6f0e-7d3c-1f2a-6f2a0c7f0b1",
        ];
        for id in others {
            assert_eq!(Origin::of_service_id(id), None, "{id}");
        }
    }

    #[test]
    fn whoever_is_registered_is_there_although_nobody_can_use_it() {
        let left_out = LeftOut {
            what: "web-1".to_owned(),
            reason: "no port".to_owned(),
        };
        let instance = Instance {
            address: "198.18.0.11:1".parse().unwrap(),
            health: Health::Passing,
            checked: true,
            weight_passing: 1,
            weight_warning: 1,
            node: "node1".into(),
            origin: None,
            tags: Arc::default(),
        };
        let mut service = CatalogService::default();
        assert!(service.is_empty());
        service.left_out.push(left_out);
        assert!(!service.is_empty());
        service.instances.push(instance);
        assert!(!service.is_empty());
        service.left_out.clear();
        assert!(!service.is_empty());
    }
}
