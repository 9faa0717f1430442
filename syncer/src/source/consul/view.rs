//! The one view that all followers of Consul write into, and when it is published.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::model::catalog::{Catalog, CatalogService};
use crate::source::Published;
use crate::source::http::HttpError;

/// How long the first view waits for what can't be read.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What all tasks write into.
#[derive(Debug)]
pub(super) struct View {
    pub(super) catalog: Catalog,
    pub(super) started: Instant,
    /// What can't be read now, and why.
    pub(super) errors: BTreeMap<Part, String>,
    pub(super) publisher: watch::Sender<Published<Catalog>>,
}

/// What can be read well or not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    List,
    Service(Arc<str>),
    Confirmation,
}

impl View {
    /// The list of services has been read.
    pub(super) fn listed(&mut self, arrived: Instant, index: u64) {
        let first = std::mem::take(&mut self.catalog.unlisted);
        self.well(&Part::List);
        self.publish(first, Some((arrived, index)));
    }

    /// A service as just read. One that is empty and not named in the config file is forgotten.
    pub(super) fn read(
        &mut self,
        name: &Arc<str>,
        read: CatalogService,
        keep: bool,
        at: (Instant, u64),
    ) {
        let changed = self.take(Arc::clone(name), read, keep);
        self.well(&Part::Service(Arc::clone(name)));
        self.publish(changed, Some(at));
    }

    /// Says whether anything is different now.
    pub(super) fn take(&mut self, name: Arc<str>, read: CatalogService, keep: bool) -> bool {
        let first = self.catalog.unread.remove(&name);
        let services = &mut self.catalog.services;
        if !keep && read.instances.is_empty() {
            return services.remove(&name).is_some() || first;
        }
        let changed = services.get(&name).is_none_or(|there| **there != read);
        if changed {
            services.insert(name, Arc::new(read));
        }
        changed || first
    }

    pub(super) fn is_failing(&self, name: &Arc<str>) -> bool {
        self.errors.contains_key(&Part::Service(Arc::clone(name)))
    }

    /// A view that does not differ wakes nobody.
    pub(super) fn publish(&mut self, changed: bool, answered: Option<(Instant, u64)>) {
        let ready = self.ready();
        let error = self.errors.values().next().cloned();
        let catalog = &self.catalog;
        self.publisher.send_if_modified(|published| {
            published.error = error;
            if let Some((arrived, index)) = answered {
                published.read_at = Some(arrived);
                published.index = published.index.max(index);
            }
            let first = published.view.is_none();
            if first && !ready || !first && !changed {
                return false;
            }
            published.arrived = published.read_at;
            published.view = Some(Arc::new(catalog.clone()));
            true
        });
    }

    /// Whether this can be the first view: all of it has been read, or the rest has had its time.
    fn ready(&self) -> bool {
        let Catalog {
            unread, unlisted, ..
        } = &self.catalog;
        if !unlisted && unread.is_empty() {
            return true;
        }
        let anything = !unlisted || !self.catalog.services.is_empty();
        let list = !unlisted || self.errors.contains_key(&Part::List);
        anything
            && list
            && unread.iter().all(|name| self.is_failing(name))
            && self.started.elapsed() >= PATIENCE
    }

    pub(super) fn failed(&mut self, part: Part, error: &HttpError) {
        let told = error.told();
        if self.errors.contains_key(&part) {
            debug!(error = told, "Consul");
        } else {
            warn!(
                error = told,
                "Consul can't be read; what was known holds on"
            );
        }
        self.errors.insert(part, told);
        self.publish(false, None);
    }

    pub(super) fn well(&mut self, part: &Part) {
        if self.errors.remove(part).is_some() {
            match part {
                Part::Service(name) => info!(service = &**name, "Consul is read again"),
                Part::List | Part::Confirmation => info!("Consul is read again"),
            }
        }
    }
}
