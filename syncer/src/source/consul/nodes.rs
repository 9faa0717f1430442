//! One copy of each node's name: thousands of instances are on a few hundred nodes.

use std::collections::HashSet;
use std::sync::Arc;

use syncer_core::model::catalog::CatalogService;

/// So many names are not worth a look for those that nobody has any more.
const SWEEP_THRESHOLD: usize = 1024;

/// The names that services mention.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    names: HashSet<Arc<str>>,
    /// How many names there were after the last look.
    kept: usize,
}

impl Nodes {
    /// Puts the copies that are there already in place of the service's own.
    pub(super) fn share(&mut self, service: &mut CatalogService) {
        let instances = service
            .instances
            .iter_mut()
            .map(|instance| &mut instance.node);
        let hosts = service.hosts.iter_mut().map(|(_, node)| node);
        for name in instances.chain(hosts) {
            match self.names.get(name) {
                Some(shared) => *name = Arc::clone(shared),
                None => drop(self.names.insert(Arc::clone(name))),
            }
        }
        if self.names.len() >= SWEEP_THRESHOLD.max(self.kept.saturating_mul(2)) {
            self.names.retain(|name| Arc::strong_count(name) > 1);
            self.kept = self.names.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn on(node: &str) -> CatalogService {
        CatalogService {
            hosts: vec![(IpAddr::from([198, 18, 0, 11]), node.into())],
            ..CatalogService::default()
        }
    }

    #[test]
    fn two_services_on_one_node_have_its_name_together() {
        let mut nodes = Nodes::default();
        let (mut first, mut second) = (on("node1"), on("node1"));
        nodes.share(&mut first);
        nodes.share(&mut second);
        assert!(Arc::ptr_eq(&first.hosts[0].1, &second.hosts[0].1));
    }

    #[test]
    fn names_that_nobody_has_any_more_are_forgotten() {
        let mut nodes = Nodes::default();
        let mut kept = on("kept");
        nodes.share(&mut kept);
        for number in 0..3 * SWEEP_THRESHOLD {
            nodes.share(&mut on(&number.to_string()));
            assert!(nodes.names.len() <= SWEEP_THRESHOLD);
        }
        assert!(nodes.names.contains("kept"));
    }
}
